package core

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/model"
)

// Linkerd's annotations of Services for failure accrual.
const (
	accrualAnnotation  = "balancer.linkerd.io/failure-accrual"
	accrualFailures    = accrualAnnotation + "-consecutive-max-failures"
	accrualMinPenalty  = accrualAnnotation + "-consecutive-min-penalty"
	accrualMaxPenalty  = accrualAnnotation + "-consecutive-max-penalty"
	accrualJitterRatio = accrualAnnotation + "-consecutive-jitter-ratio"
)

// failureAccrual reads the annotations. As with Linkerd nothing is in force where one of them is wrong.
func failureAccrual(r *model.Report, annotations map[string]string) *model.OutlierDetection {
	mode, asked := annotations[accrualAnnotation]
	if !asked {
		return nil
	}
	a := accrual{r: r, annotations: annotations}
	if mode != "consecutive" {
		a.wrong(accrualAnnotation, "is no mode that is obeyed", "consecutive")
		return nil
	}
	out := &model.OutlierDetection{
		Consecutive5xx: a.failures(),
		Accrual: &model.FailureAccrual{
			MinPenalty: a.duration(accrualMinPenalty, time.Second),
			MaxPenalty: a.duration(accrualMaxPenalty, time.Minute),
			Jitter:     a.jitter(),
		},
	}
	if !a.faulty && out.Accrual.MinPenalty > out.Accrual.MaxPenalty {
		a.wrong(accrualMinPenalty, "is longer than the longest penalty, "+out.Accrual.MaxPenalty.String(), "at most as long")
	}
	if a.faulty {
		return nil
	}
	return out
}

// accrual reads values and notes whether one is wrong.
type accrual struct {
	r           *model.Report
	annotations map[string]string
	faulty      bool
}

func (a *accrual) wrong(annotation, why, fix string) {
	a.faulty = true
	a.r.Warn("metadata.annotations["+annotation+"]", fmt.Sprintf("%#q %s: failures are not accrued", a.annotations[annotation], why), fix)
}

func (a *accrual) failures() uint32 {
	value, said := a.annotations[accrualFailures]
	if !said {
		return 7
	}
	n, err := strconv.ParseUint(value, 10, 32)
	if err != nil || n == 0 {
		a.wrong(accrualFailures, "is no number of failures", "1 or more")
	}
	return uint32(n)
}

func (a *accrual) jitter() float64 {
	value, said := a.annotations[accrualJitterRatio]
	if !said {
		return 0.5
	}
	ratio, err := strconv.ParseFloat(value, 64)
	if err != nil || math.IsNaN(ratio) || ratio < 0 || ratio > 100 {
		a.wrong(accrualJitterRatio, "is no ratio", "0 to 100")
	}
	return ratio
}

// longestPenalty keeps penalties such that twice one is a time.
const longestPenalty = 365 * 24 * time.Hour

// duration reads a time as Linkerd writes it: a whole number and a unit from ms to d.
func (a *accrual) duration(annotation string, otherwise time.Duration) time.Duration {
	value, said := a.annotations[annotation]
	if !said {
		return otherwise
	}
	text := strings.TrimSpace(value)
	digits := strings.TrimRight(text, "msdh")
	unit := map[string]time.Duration{
		"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour,
	}[text[len(digits):]]
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || unit == 0 || n == 0 || n > uint64(longestPenalty/unit) {
		a.wrong(annotation, "is no time", `a whole number with ms, s, m, h or d, such as "1s"`)
		return otherwise
	}
	return time.Duration(n) * unit
}

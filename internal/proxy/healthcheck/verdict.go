package healthcheck

import (
	"time"

	"fairlead.dev/fairlead/internal/model"
)

// verdict is what the checks of one policy have found so far. The zero value knows nothing.
type verdict struct {
	known, failing bool
	why            string // of the check that decided that it fails
	since          time.Time
	streak         uint32 // checks in a row that speak against what is known
}

// observe takes the outcome of a check, nil for one that passed, and reports whether that turns what is known. The first
// pass tells by itself that the app works.
func (v *verdict) observe(how *model.HealthCheck, err error, now time.Time) (turned bool) {
	failed := err != nil
	if v.known && failed == v.failing {
		v.streak = 0
		if failed {
			v.why = err.Error()
		}
		return false
	}
	if !failed && !v.known {
		v.turn(false, "", now)
		return true
	}
	v.streak++
	need := how.HealthyThreshold
	if failed {
		need = how.UnhealthyThreshold
	}
	if v.streak < need {
		return false
	}
	why := ""
	if failed {
		why = err.Error()
	}
	v.turn(failed, why, now)
	return true
}

func (v *verdict) turn(failing bool, why string, now time.Time) {
	*v = verdict{known: true, failing: failing, why: why, since: now}
}

// pause is the time from the beginning of one check to that of the next. It is short while it is open what to think.
func (v *verdict) pause(how *model.HealthCheck) time.Duration {
	if v.streak > 0 || !v.known {
		return how.Timeout
	}
	return how.Interval
}

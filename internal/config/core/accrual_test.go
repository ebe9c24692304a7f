package core

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/internal/model"
)

func TestFailureAccrual(t *testing.T) {
	accrual := func(n uint32, minimum, maximum time.Duration, jitter float64) *model.OutlierDetection {
		return &model.OutlierDetection{Consecutive5xx: n, Accrual: &model.FailureAccrual{MinPenalty: minimum, MaxPenalty: maximum, Jitter: jitter}}
	}
	for _, tt := range []struct {
		name    string
		values  map[string]string // the annotations beside the mode "consecutive"; "" replaces that
		want    *model.OutlierDetection
		problem string // the annotation of the warning
	}{
		{"defaults", nil, accrual(7, time.Second, time.Minute, 0.5), ""},
		{"all", map[string]string{accrualFailures: "3", accrualMinPenalty: "500ms", accrualMaxPenalty: "2h", accrualJitterRatio: "1.5"}, accrual(3, 500*time.Millisecond, 2*time.Hour, 1.5), ""},
		{"days", map[string]string{accrualMaxPenalty: "365d"}, accrual(7, time.Second, 365*24*time.Hour, 0.5), ""},
		{"too_many_days", map[string]string{accrualMaxPenalty: "366d"}, nil, accrualMaxPenalty},
		{"another_mode", map[string]string{"": "unified"}, nil, accrualAnnotation},
		{"no_failures", map[string]string{accrualFailures: "0"}, nil, accrualFailures},
		{"no_number", map[string]string{accrualFailures: "many"}, nil, accrualFailures},
		{"no_time", map[string]string{accrualMinPenalty: "0s"}, nil, accrualMinPenalty},
		{"two_units", map[string]string{accrualMinPenalty: "1m30s"}, nil, accrualMinPenalty},
		{"no_unit", map[string]string{accrualMinPenalty: "1"}, nil, accrualMinPenalty},
		{"a_strange_unit", map[string]string{accrualMinPenalty: "1sm"}, nil, accrualMinPenalty},
		{"the_wrong_way_round", map[string]string{accrualMinPenalty: "2m"}, nil, accrualMinPenalty},
		{"no_ratio", map[string]string{accrualJitterRatio: "NaN"}, nil, accrualJitterRatio},
		{"too_large_a_ratio", map[string]string{accrualJitterRatio: "101"}, nil, accrualJitterRatio},
	} {
		t.Run(tt.name, func(t *testing.T) {
			annotations := map[string]string{accrualAnnotation: "consecutive"}
			for name, value := range tt.values {
				if name == "" {
					name = accrualAnnotation
				}
				annotations[name] = value
			}
			got, problems := Service(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "b", Annotations: annotations}}, "cluster.local")
			if got == nil {
				t.Fatal(problems)
			}
			if diff := cmp.Diff(tt.want, got.Outlier); diff != "" {
				t.Errorf("rules (-want +got):\n%s", diff)
			}
			if tt.problem == "" && len(problems) > 0 || tt.problem != "" && (len(problems) != 1 || !strings.Contains(problems[0].Field, "["+tt.problem+"]")) {
				t.Errorf("problems: %v, want one of %q", problems, tt.problem)
			}
		})
	}
	t.Run("nothing", func(t *testing.T) {
		got, _ := Service(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "a", Annotations: map[string]string{accrualFailures: "3"}}}, "cluster.local")
		if got.Outlier != nil {
			t.Errorf("rules without the mode: %+v", got.Outlier)
		}
	})
}

package istio

import (
	"cmp"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1alpha3"

	"fairlead.dev/fairlead/internal/model"
)

// What an outlierDetection leaves out is Envoy's default, but for success rates, which Istio never asks it to look at.
const (
	outlierFailures = 5
	outlierInterval = 10 * time.Second
	outlierBase     = 30 * time.Second
	outlierPercent  = 10
)

func (t destinationRule) outlierDetection(field string, in *networking.OutlierDetection) *model.OutlierDetection {
	if in == nil {
		return nil
	}
	out := &model.OutlierDetection{
		Consecutive5xx:     orDefault(in.GetConsecutive_5XxErrors(), outlierFailures),
		ConsecutiveGateway: in.GetConsecutiveGatewayErrors().GetValue(),
		SplitLocal:         in.GetSplitExternalLocalOriginErrors(),
		Interval:           cmp.Or(t.duration(field+".interval", in.GetInterval()), outlierInterval),
		BaseEjectionTime:   cmp.Or(t.duration(field+".baseEjectionTime", in.GetBaseEjectionTime()), outlierBase),
		MaxEjectionPercent: uint32(cmp.Or(max(in.GetMaxEjectionPercent(), 0), outlierPercent)),
		MinHealthPercent:   uint32(max(in.GetMinHealthPercent(), 0)),
	}
	t.percent(field+".maxEjectionPercent", float64(in.GetMaxEjectionPercent()))
	t.percent(field+".minHealthPercent", float64(in.GetMinHealthPercent()))
	if out.SplitLocal {
		out.ConsecutiveLocal = cmp.Or(in.GetConsecutiveLocalOriginFailures().GetValue(), outlierFailures)
	} else if in.GetConsecutiveLocalOriginFailures().GetValue() > 0 {
		t.Reject(field+".consecutiveLocalOriginFailures", "needs splitExternalLocalOriginErrors", "set it to true")
	}
	consecutiveErrors(t, field+".consecutiveErrors", in, out)
	if threshold := in.GetFailurePercentageThreshold(); threshold != nil {
		t.percent(field+".failurePercentageThreshold", float64(threshold.GetValue()))
		out.FailurePercent = threshold.GetValue()
		if out.FailurePercent == 0 {
			t.Warn(field+".failurePercentageThreshold", "0 % fail of an endpoint that never fails, too: it ejects nothing", "write how many percent are too many, from 1 to 100")
		}
	}
	for i, code := range in.GetOutlierDetectionHttpErrorCodes() {
		if code < 100 || code > 599 {
			t.Reject(fmt.Sprintf("%s.outlierDetectionHttpErrorCodes[%d]", field, i), fmt.Sprintf("%d is not a status", code), "write one from 100 to 599")
		}
		out.Codes = append(out.Codes, int(code))
	}
	return out
}

// consecutiveErrors reads what older versions of Istio had for consecutiveGatewayErrors: so many 502, 503 and 504 in a row, and no
// other 5xx. Newer ones take the field and do nothing; here it counts where the fields that took its place are not there.
func consecutiveErrors(t destinationRule, field string, in *networking.OutlierDetection, out *model.OutlierDetection) {
	n := in.GetConsecutiveErrors() //nolint:staticcheck // deprecated and still written
	switch {
	case n == 0:
	case n < 0:
		t.Reject(field, fmt.Sprintf("%d is not a number of errors", n), "write consecutiveGatewayErrors, from 1 on")
	case in.GetConsecutive_5XxErrors() != nil || in.GetConsecutiveGatewayErrors() != nil:
		t.Warn(field, "no effect beside consecutiveGatewayErrors and consecutive5xxErrors, which took its place", "remove it")
	default:
		t.Warn(field, "an old name, which newer versions of Istio do not obey: it counts 502, 503 and 504", "write consecutiveGatewayErrors, and consecutive5xxErrors: 0")
		out.ConsecutiveGateway, out.Consecutive5xx = uint32(n), 0
	}
}

func orDefault(v *wrapperspb.UInt32Value, otherwise uint32) uint32 {
	if v == nil {
		return otherwise
	}
	return v.GetValue()
}

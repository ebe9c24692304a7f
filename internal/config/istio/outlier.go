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
	if in.GetConsecutiveErrors() != 0 { //nolint:staticcheck // deprecated and still written
		t.Warn(field+".consecutiveErrors", "no effect, as with Istio, which no longer knows it", "write consecutiveGatewayErrors or consecutive5xxErrors")
	}
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

func orDefault(v *wrapperspb.UInt32Value, otherwise uint32) uint32 {
	if v == nil {
		return otherwise
	}
	return v.GetValue()
}

package envoy

import (
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"fairlead.dev/fairlead/internal/plan"
)

// logField is a field of the access log, and the operator that writes it. Quoted ones stand in quotes in a line of text.
type logField struct {
	name, operator string
	quoted         bool
}

// logFields are Istio's, in its order: the same that Fairlead's sidecars write.
func logFields() []logField {
	return []logField{
		{"response_code", "%RESPONSE_CODE%", false},
		{"response_flags", "%RESPONSE_FLAGS%", false},
		{"response_code_details", "%RESPONSE_CODE_DETAILS%", false},
		{"connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%", false},
		{"upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%", true},
		{"bytes_received", "%BYTES_RECEIVED%", false},
		{"bytes_sent", "%BYTES_SENT%", false},
		{"duration", "%DURATION%", false},
		{"upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%", false},
		{"x_forwarded_for", "%REQ(X-FORWARDED-FOR)%", true},
		{"user_agent", "%REQ(USER-AGENT)%", true},
		{"request_id", "%REQ(X-REQUEST-ID)%", true},
		{"authority", "%REQ(:AUTHORITY)%", true},
		{"upstream_host", "%UPSTREAM_HOST%", true},
		{"upstream_cluster", "%UPSTREAM_CLUSTER_RAW%", false},
		{"upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%", false},
		{"downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%", false},
		{"downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%", false},
		{"requested_server_name", "%REQUESTED_SERVER_NAME%", false},
		{"route_name", "%ROUTE_NAME%", false},
	}
}

// What a line begins with.
const (
	logStart  = "%START_TIME%"
	logMethod = "%REQ(:METHOD)%"
	logPath   = "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"
	logProto  = "%PROTOCOL%"
)

// accessLogs writes to the Envoy's output, where the mesh has its access log on.
func (l look) accessLogs() []*accesslogv3.AccessLog {
	format := &corev3.SubstitutionFormatString{}
	switch l.g.AccessLog {
	case plan.AccessLogOff:
		return nil
	case plan.AccessLogText:
		words := []string{"[" + logStart + "]", `"` + logMethod, logPath, logProto + `"`}
		for _, f := range logFields() {
			word := f.operator
			if f.quoted {
				word = `"` + word + `"`
			}
			words = append(words, word)
		}
		format.Format = &corev3.SubstitutionFormatString_TextFormatSource{
			TextFormatSource: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: strings.Join(words, " ") + "\n"}},
		}
	case plan.AccessLogJSON:
		fields := map[string]*structpb.Value{
			"start_time": structpb.NewStringValue(logStart), "method": structpb.NewStringValue(logMethod),
			"path": structpb.NewStringValue(logPath), "protocol": structpb.NewStringValue(logProto),
		}
		for _, f := range logFields() {
			fields[f.name] = structpb.NewStringValue(f.operator)
		}
		format.Format = &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: &structpb.Struct{Fields: fields}}
	}
	return []*accesslogv3.AccessLog{{
		Name: "envoy.access_loggers.file", ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: packed(&filev3.FileAccessLog{
			Path: "/dev/stdout", AccessLogFormat: &filev3.FileAccessLog_LogFormat{LogFormat: format},
		})},
	}}
}

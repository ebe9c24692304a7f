package inject_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/inject"
)

func TestParseConfig(t *testing.T) {
	got, err := inject.ParseConfig([]byte(`
image: registry.local/fairlead/proxy:v1
imagePullPolicy: Always
imagePullSecrets: [one, {name: two}]
controller: a:1, b:2
controllerName: controller.example
nativeSidecar: true
cni: true
logLevel: WARN
drain: 10s
holdTimeout: 2m
resources: {limits: {memory: 1Gi}}
includeOutboundCIDRs: "10.0.0.0/8, 192.168.0.0/16"
excludeOutboundCIDRs: 169.254.169.254
excludeInboundPorts: "22, 8000-8010"
excludeOutboundPorts: "25"
captureDNS: false
mergeMetrics: false
holdAppEnd: false
istioStatus: false
`), defaultConfig())
	want := inject.Config{
		Image: "registry.local/fairlead/proxy:v1", ImagePullPolicy: corev1.PullAlways, ImagePullSecrets: []inject.SecretName{"one", "two"},
		Controller: "a:1, b:2", ControllerName: "controller.example", NativeSidecar: inject.Yes, CNI: true, LogLevel: "warn",
		Drain: metav1.Duration{Duration: 10 * time.Second}, HoldTimeout: metav1.Duration{Duration: 2 * time.Minute},
		Resources:            corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")}},
		IncludeOutboundCIDRs: "10.0.0.0/8,192.168.0.0/16", ExcludeOutboundCIDRs: "169.254.169.254",
		ExcludeInboundPorts: "22,8000-8010", ExcludeOutboundPorts: "25",
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("ParseConfig: %v (-want +got):\n%s", err, diff)
	}
}

func TestParseConfigOfNothingIsTheDefault(t *testing.T) {
	want := defaultConfig()
	for _, text := range []string{"", "{}", "# nothing\n"} {
		got, err := inject.ParseConfig([]byte(text), want)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("ParseConfig(%q): %v (-want +got):\n%s", text, err, diff)
		}
	}
}

// TestConfigRoundTrip: what is written out is read back.
func TestConfigRoundTrip(t *testing.T) {
	want := defaultConfig()
	text, err := yaml.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := inject.ParseConfig(text, inject.Config{})
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("ParseConfig: %v (-want +got):\n%s\n%s", err, diff, text)
	}
}

func TestParseConfigRefuses(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"what_is_no_YAML", "a: [", "no valid YAML: yaml: line 1: did not find expected node content"},
		{"what_is_no_mapping", "[1]", "the configuration is no mapping; write `image: …` and so on"},
		{"a_field_twice", "image: a\nimage: b\n", `no valid YAML: yaml: unmarshal errors:` + "\n" + `  line 2: key "image" already set in map`},
		{"an_unknown_field", "drainn: 5s", "drainn: unknown field, did you mean drain?"},
		{"everything_at_once", "nope: 1\ncni: 3\nlogLevel: [x]", "cni: a value of type number stands here, expected true or false\n" +
			"logLevel: a value of type array stands here, expected a string\nnope: unknown field"},
		{"a_bad_image", `image: "a b"`, `image: "a b" is no image; write REGISTRY/NAME:TAG`},
		{"no_image", `image: ""`, `image: is not set; write REGISTRY/NAME:TAG, where the sidecar's image is (fairlead inject --set image=…)`},
		{"a_bad_policy", "imagePullPolicy: Sometimes", `imagePullPolicy: "Sometimes" is none of Always, IfNotPresent and Never`},
		{"a_bad_secret", "imagePullSecrets: [{nam: x}]", "imagePullSecrets: {\"nam\":\"x\"} is no name of a Secret; write `- name: NAME`"},
		{"a_bad_controller", "controller: here", `controller: "here" is no address; write HOST:PORT`},
		{"a_bad_choice", "nativeSidecar: perhaps", `nativeSidecar: "perhaps" is none of auto, true and false`},
		{"a_number_for_a_duration", "drain: 5", "drain: 5 is no duration; write 5s or 1m30s"},
		{"a_bad_duration", "holdTimeout: soon", `holdTimeout: "soon" is no duration; write 5s or 1m30s`},
		{"no_hold", "holdTimeout: 0s", "holdTimeout: 0s is not positive"},
		{"a_bad_amount", "resources: {limits: {cpu: much}}", "resources: holds what is no amount; write 100m or 0.1 for cpu, 64Mi for memory"},
		{"a_misspelt_resource", "resources: {limit: {cpu: 1}}", `resources: unknown field "limit"`},
		{"a_request_above_its_limit", "resources: {requests: {cpu: 2}, limits: {cpu: 1}}", "resources: the cpu request 2 is above the limit 1"},
		{"a_bad_port", "excludeInboundPorts: http", `excludeInboundPorts: "http" is no port; write 8080 or 8000-8010`},
		{"a_range_backwards", "excludeOutboundPorts: 9-8", `excludeOutboundPorts: "9-8" is no port; write 8080 or 8000-8010`},
		{"everything_excluded", `excludeOutboundCIDRs: "*"`, `excludeOutboundCIDRs: "*" would leave nothing to the sidecar; name what to leave alone`},
		{"a_bad_CIDR", "includeOutboundCIDRs: 10.0.0.0/99", `includeOutboundCIDRs: "10.0.0.0/99" is no CIDR; write 10.0.0.0/8 or an address`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := inject.ParseConfig([]byte(tt.text), defaultConfig())
			if err == nil || strings.TrimPrefix(err.Error(), "error converting YAML to JSON: ") != tt.want {
				t.Errorf("ParseConfig = %v, want\n%s", err, tt.want)
			}
		})
	}
}

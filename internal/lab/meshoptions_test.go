package lab

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMeshFlags(t *testing.T) {
	tests := []struct {
		name, setting string
		want          []string
		err           string
	}{
		{"one_word", "mesh.drain=5s", []string{"--drain=5s"}, ""},
		{"two_words", "mesh.accessLog=json", []string{"--access-log=json"}, ""},
		{"yes_or_no", "mesh.inboundRetries=false", []string{"--inbound-retries=false"}, ""},
		{"an_abbreviation", "mesh.clusterID=west", []string{"--cluster-id=west"}, ""},
		{"a_value_with_signs", "mesh.trustDomainAliases=a.b,c=d", []string{"--trust-domain-aliases=a.b,c=d"}, ""},
		{"a_part_of_its_own", "tracing.otlp.endpoint=collector.observability:4317", []string{"--tracing-otlp-endpoint=collector.observability:4317"}, ""},
		{"Consul", "consul.tokenFile=/t", []string{"--consul-token-file=/t"}, ""},
		{"mirrors", "mirrors.headless=true", []string{"--mirrors-headless=true"}, ""},
		{"a_part_without_a_name", "tracing=1", nil, "--set tracing=1: write mesh.NAME=VALUE or tracing.NAME=VALUE, with a name as in the chart's values, such as mesh.accessLog=json"},
		{"no_value", "mesh.accessLog", nil, "--set mesh.accessLog: write mesh.NAME=VALUE or tracing.NAME=VALUE, with a name as in the chart's values, such as mesh.accessLog=json"},
		{"another_part_of_the_chart", "controller.replicas=2", nil, "--set controller.replicas=2: write mesh.NAME=VALUE or tracing.NAME=VALUE, with a name as in the chart's values, such as mesh.accessLog=json"},
		{"what_the_lab_depends_on", "mesh.clusterDomain=x", nil, "--set mesh.clusterDomain=x: a lab's names end in cluster.local"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := meshFlags([]string{tt.setting})
			var failed string
			if err != nil {
				failed = err.Error()
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || failed != tt.err {
				t.Errorf("meshFlags(%q) = %q, %q; want %q, %q", tt.setting, got, failed, tt.want, tt.err)
			}
		})
	}
}

package cni

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	previous = `{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","mtu":1450}],"ips":[{"address":"10.7.0.2/24"}],"unknown":{"b":1,"a":[]}}`
	basic    = `"cniVersion":"1.0.0","name":"mesh","type":"fairlead-cni"`
	chained  = `{` + basic + `,"prevResult":` + previous + `}`
)

func TestCallWithoutPod(t *testing.T) {
	complete := func(command string) Invocation {
		return Invocation{Command: command, ContainerID: "c1", NetNS: "/proc/self/ns/net", IfName: "eth0"}
	}
	tests := []struct {
		name string
		inv  Invocation
		conf string
		want string // standard output, or part of the error's msg
		code int    // of the error; 0 for none
	}{
		{"version", complete("VERSION"), `{"cniVersion":"0.4.0"}`, `{"cniVersion":"0.4.0","supportedVersions":["0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]}`, 0},
		{"version_without_input", complete("VERSION"), ``, `{"cniVersion":"1.1.0","supportedVersions":["0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]}`, 0},
		{"add_passes_the_result_through", complete("ADD"), chained, previous, 0},
		{"add_names_the_version_of_the_result", complete("ADD"), `{` + basic + `,"prevResult":{"ips":[]}}`, `{"cniVersion":"1.0.0","ips":[]}`, 0},
		{"add_without_a_plugin_before", complete("ADD"), `{` + basic + `}`, "no prevResult", codeConfig},
		{"add_with_null_before", complete("ADD"), `{` + basic + `,"prevResult":null}`, "no prevResult", codeConfig},
		{"add_with_a_list_before", complete("ADD"), `{` + basic + `,"prevResult":[]}`, "prevResult: json", codeDecode},
		{"add_without_environment", Invocation{Command: "ADD"}, chained, "CNI_CONTAINERID, CNI_IFNAME, CNI_NETNS not set", codeEnvironment},
		{"check", complete("CHECK"), chained, "", 0},
		{"check_in_an_old_version", complete("CHECK"), `{"cniVersion":"0.3.1"}`, "CHECK came with version 0.4.0", codeVersion},
		{"del", complete("DEL"), chained, "", 0},
		{"del_without_namespace_and_result", Invocation{Command: "DEL", ContainerID: "c1", IfName: "eth0"}, `{` + basic + `}`, "", 0},
		{"del_without_container", Invocation{Command: "DEL", IfName: "eth0"}, `{` + basic + `}`, "CNI_CONTAINERID not set", codeEnvironment},
		{"gc", Invocation{Command: "GC"}, `{"cniVersion":"1.1.0","name":"mesh","cni.dev/valid-attachments":[]}`, "", 0},
		{"gc_in_an_old_version", Invocation{Command: "GC"}, `{"cniVersion":"1.0.0"}`, "GC came with version 1.1.0", codeVersion},
		{"status", Invocation{Command: "STATUS"}, `{"cniVersion":"1.1.0","name":"mesh"}`, "", 0},
		{"no_command", Invocation{}, chained, `CNI_COMMAND ""`, codeEnvironment},
		{"no_json", complete("ADD"), `hello`, "standard input", codeDecode},
		{"version_of_the_future", complete("ADD"), `{"cniVersion":"9.0.0"}`, `cniVersion "9.0.0": use 0.3.0`, codeVersion},
		{"no_version", complete("ADD"), `{}`, `cniVersion ""`, codeVersion},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, out, _ := invoke(t, tt.inv, tt.conf)
			if tt.code == 0 {
				if diff := cmp.Diff(tt.want, strings.TrimSpace(out)); code != 0 || diff != "" {
					t.Errorf("Call() = %d (-want +got):\n%s", code, diff)
				}
				return
			}
			var e struct {
				CNIVersion string
				Code       int
				Msg        string
			}
			must(t, json.Unmarshal([]byte(out), &e))
			if code != 1 || e.Code != tt.code || !strings.Contains(e.Msg, tt.want) || e.CNIVersion == "" {
				t.Errorf("Call() = %d %+v, want code %d and %q", code, e, tt.code, tt.want)
			}
		})
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }
func (brokenPipe) Read([]byte) (int, error)  { return 0, errors.New("broken pipe") }

func TestCallWithBrokenStreams(t *testing.T) {
	inv := Invocation{Command: "ADD", ContainerID: "c1", NetNS: "/proc/self/ns/net", IfName: "eth0"}
	inv.Stdin, inv.Stdout, inv.Stderr = strings.NewReader(chained), brokenPipe{}, io.Discard
	if code := Call(t.Context(), inv); code != 1 {
		t.Errorf("Call() with a broken output = %d, want 1", code)
	}
	var out bytes.Buffer
	inv.Stdin, inv.Stdout = brokenPipe{}, &out
	if code := Call(t.Context(), inv); code != 1 || !strings.Contains(out.String(), `"code":5`) {
		t.Errorf("Call() with a broken input = %d %s, want 1 and code 5", code, out.String())
	}
}

func TestEnviron(t *testing.T) {
	got := Environ(func(key string) string { return "value of " + key })
	want := Invocation{
		Command: "value of CNI_COMMAND", ContainerID: "value of CNI_CONTAINERID", NetNS: "value of CNI_NETNS",
		IfName: "value of CNI_IFNAME", Args: "value of CNI_ARGS",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Environ() (-want +got):\n%s", diff)
	}
}

// FuzzCall feeds configurations to an ADD for something that is no pod: out comes the result of the plugin before, or
// an error object.
func FuzzCall(f *testing.F) {
	for _, seed := range []string{
		chained, `{` + basic + `}`, `{"cniVersion":"1.1.0","prevResult":{}}`, `{"cniVersion":"1.0.0","prevResult":"x"}`, `[]`, ``,
		`{"cniVersion":"1.0.0","runtimeConfig":{"io.kubernetes.cri.pod-annotations":{"a":"b"}},"prevResult":{"cniVersion":"1.0.0"}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, conf []byte) {
		if bytes.Contains(bytes.ToLower(conf), []byte("logfile")) {
			return // writes where it is told to
		}
		inv := Invocation{Command: "ADD", ContainerID: "c1", NetNS: "/proc/self/ns/net", IfName: "eth0"}
		var out bytes.Buffer
		inv.Stdin, inv.Stdout, inv.Stderr = bytes.NewReader(conf), &out, io.Discard
		code := Call(t.Context(), inv)
		var got struct {
			CNIVersion string
			Code       int
		}
		if err := json.Unmarshal(out.Bytes(), &got); err != nil || (code != 0) != (got.Code != 0) && code != 0 {
			t.Errorf("Call(%q) = %d, output %q: %v", conf, code, out.Bytes(), err)
		}
	})
}

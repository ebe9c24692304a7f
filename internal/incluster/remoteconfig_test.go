package incluster

import (
	"strings"
	"testing"
)

// kubeconfigOf is a kubeconfig as "fairlead create-remote-secret" makes it, with other words for its cluster and its user.
func kubeconfigOf(cluster, user string) string {
	return "apiVersion: v1\nkind: Config\ncurrent-context: east\ncontexts: [{name: east, context: {cluster: east, user: east}}]\n" +
		"clusters: [{name: east, cluster: {" + cluster + "}}]\nusers: [{name: east, user: {" + user + "}}]\n"
}

func TestRemoteConfig(t *testing.T) {
	const server = "server: https://10.0.0.1:6443"
	for _, tt := range []struct {
		name, text string
		plugins    KubeconfigPlugins
		refused    string // part of the reason, empty where it is not
	}{
		{"token", kubeconfigOf(server, "token: abc"), RefusePlugins, ""},
		{
			"exec", kubeconfigOf(server, "exec: {apiVersion: client.authentication.k8s.io/v1, command: aws, interactiveMode: Never}"), RefusePlugins,
			`user "east" of the kubeconfig: exec "aws" is not allowed: write the credentials themselves (token, client-certificate-data), or allow it with --allow-kubeconfig-plugins`,
		},
		{"exec_allowed", kubeconfigOf(server, "exec: {apiVersion: client.authentication.k8s.io/v1, command: aws, interactiveMode: Never}"), AllowPlugins, ""},
		{"auth_provider", kubeconfigOf(server, "auth-provider: {name: gcp}"), RefusePlugins, `auth-provider "gcp" is not allowed`},
		{"token_file", kubeconfigOf(server, "tokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token"), RefusePlugins, `tokenFile "/var/run/`},
		{"key_file", kubeconfigOf(server, "client-key: /etc/ssl/key.pem"), RefusePlugins, `client-key "/etc/ssl/key.pem" is not allowed`},
		{"ca_file", kubeconfigOf(server+", certificate-authority: /etc/passwd", "token: abc"), RefusePlugins, "certificate-authority"},
		{"nothing", "", RefusePlugins, "has no cluster"},
		{"garbage", "]]\x00", RefusePlugins, "cannot be read"},
		{"a_pod", "apiVersion: v1\nkind: Pod\n", RefusePlugins, "it is no kubeconfig, which says apiVersion: v1 and kind: Config"},
		{"another_context", strings.Replace(kubeconfigOf(server, "token: abc"), "current-context: east", "current-context: west", 1), RefusePlugins, "cannot be used"},
		{"large", kubeconfigOf(server, "token: "+strings.Repeat("a", maxKubeconfig)), RefusePlugins, "larger than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := RemoteConfig([]byte(tt.text), tt.plugins)
			switch {
			case tt.refused == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.refused == "" && c.Host != "https://10.0.0.1:6443":
				t.Errorf("it leads to %s", c.Host)
			case tt.refused != "" && (err == nil || !strings.Contains(err.Error(), tt.refused)):
				t.Errorf("refused for %v, want %q", err, tt.refused)
			}
		})
	}
}

// Whatever a Secret holds, it is read or refused in one line.
func FuzzRemoteConfig(f *testing.F) {
	f.Add(kubeconfigOf("server: https://10.0.0.1:6443", "token: abc"))
	f.Add(kubeconfigOf("server: 1", "exec: {command: sh}"))
	f.Fuzz(func(t *testing.T, text string) {
		c, err := RemoteConfig([]byte(text), RefusePlugins)
		if err == nil && (c.ExecProvider != nil || c.AuthProvider != nil || c.BearerTokenFile != "" || c.CAFile != "" || c.KeyFile != "" || c.CertFile != "") {
			t.Errorf("accepted with what leads outside the text: %+v", c)
		}
	})
}

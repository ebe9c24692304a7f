package core

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/internal/model"
)

func TestServiceSession(t *testing.T) {
	cookie := func(name, path string) *model.SessionPersistence {
		return &model.SessionPersistence{By: model.SessionByCookie, Name: name, Path: path}
	}
	for _, tt := range []struct {
		name    string
		labels  map[string]string
		want    *model.SessionPersistence
		problem string // the field of the warning
	}{
		{"nothing", nil, nil, ""},
		{"cookie", map[string]string{cookieLabel: "Cart"}, cookie("Cart", "/"), ""},
		{"cookie_with_path", map[string]string{cookieLabel: "cart:/shop"}, cookie("cart", "/shop"), ""},
		{"header", map[string]string{headerLabel: "X-Cart"}, &model.SessionPersistence{By: model.SessionByHeader, Name: "x-cart"}, ""},
		{"both", map[string]string{headerLabel: "x", cookieLabel: "cart"}, cookie("cart", "/"), ""},
		{"no_name", map[string]string{cookieLabel: "a b"}, nil, cookieLabel},
		{"no_path", map[string]string{cookieLabel: "a:/;Domain=x"}, nil, cookieLabel},
		{"own_header", map[string]string{headerLabel: "Connection"}, nil, headerLabel},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, problems := Service(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "b", Labels: tt.labels}}, "cluster.local")
			if got == nil {
				t.Fatal(problems)
			}
			if diff := cmp.Diff(tt.want, got.Session); diff != "" {
				t.Errorf("session (-want +got):\n%s", diff)
			}
			if tt.problem == "" && len(problems) > 0 || tt.problem != "" && (len(problems) != 1 || !strings.Contains(problems[0].Field, tt.problem)) {
				t.Errorf("problems: %v, want one of %q", problems, tt.problem)
			}
		})
	}
}

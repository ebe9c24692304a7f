package gwapi

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/model"
)

func TestSession(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, spec string
		want       *model.SessionPersistence
	}{
		{"none", "", nil},
		{"defaults", "sessionPersistence: {}", &model.SessionPersistence{By: model.SessionByCookie}},
		{"cookie", "sessionPersistence: {sessionName: Cart, type: Cookie, absoluteTimeout: 1h, cookieConfig: {lifetimeType: Permanent}}", &model.SessionPersistence{
			By: model.SessionByCookie, Name: "Cart", Timeout: time.Hour, Permanent: true,
		}},
		{"header", "sessionPersistence: {sessionName: X-Cart, type: Header}", &model.SessionPersistence{By: model.SessionByHeader, Name: "x-cart"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, problems := httpRoute(t, "parentRefs: [{group: \"\", kind: Service, name: users}]\nrules: [{"+tt.spec+"}]")
			if got == nil || len(problems) > 0 {
				t.Fatalf("problems: %v", problems)
			}
			if diff := cmp.Diff(tt.want, got.HTTP[0].Session); diff != "" {
				t.Errorf("session (-want +got):\n%s", diff)
			}
		})
	}
}

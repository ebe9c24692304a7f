package admin

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const envoyCertsPage = `{"certificates": [
 {"ca_cert": [{"path": "<inline>", "serial_number": "01", "subject_alt_names": [{"uri": "spiffe://cluster.local"}], "days_until_expiration": "364",
   "valid_from": "2026-01-01T00:00:00Z", "expiration_time": "2027-01-01T00:00:00Z"}],
  "cert_chain": [{"path": "<inline>", "serial_number": "0a", "subject_alt_names": [{"dns": "x"}, {"uri": "spiffe://cluster.local/ns/shop/sa/web"}],
   "days_until_expiration": "0", "valid_from": "2026-02-01T00:00:00Z", "expiration_time": "2026-02-02T00:00:00Z"}]},
 {"ca_cert": [{"serial_number": "01", "valid_from": "2026-01-01T00:00:00Z", "expiration_time": "2027-01-01T00:00:00Z"}], "cert_chain": []}]}`

func TestEnvoysCertificates(t *testing.T) {
	var certs envoyCerts
	if err := json.Unmarshal([]byte(envoyCertsPage), &certs); err != nil {
		t.Fatal(err)
	}
	day := func(month time.Month, day int) time.Time { return time.Date(2026, month, day, 0, 0, 0, 0, time.UTC) }
	want := []SecretDump{
		{
			Name: "default", Type: "Cert Chain", Status: "ACTIVE", Serial: "0a", NotBefore: day(2, 1), NotAfter: day(2, 2), TrustDomain: "cluster.local",
			Identity: "spiffe://cluster.local/ns/shop/sa/web",
		},
		{Name: "ROOTCA", Type: "CA", Status: "ACTIVE", Valid: true, Serial: "01", NotBefore: day(1, 1), NotAfter: day(13, 1), TrustDomain: "cluster.local"},
	}
	if diff := cmp.Diff(want, certs.rows(day(3, 1))); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

package istio

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestMeshCACertificates(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, written string
		want          []SPIFFEBundle
		err           string
	}{
		{name: "nothing", written: " \n"},
		{name: "an empty list", written: "[]"},
		{
			name: "two", written: "[{spiffeBundleUrl: https://a.example/b, trustDomains: [prod.example]}, {spiffeBundleUrl: https://a.example/b, trustDomains: [test.example]}]",
			want: []SPIFFEBundle{{"prod.example", "https://a.example/b"}, {"test.example", "https://a.example/b"}},
		},
		{name: "no list", written: "{spiffeBundleUrl: a}", err: "caCertificates: write a list, such as"},
		{name: "unknown field", written: "[{url: a}]", err: `unknown field "url"`},
		{name: "no YAML", written: "[", err: "caCertificates: "},
		{name: "no address", written: "[{trustDomains: [a]}]", err: "caCertificates[0].spiffeBundleUrl: missing"},
		{name: "no trust domain", written: "[{spiffeBundleUrl: https://a}]", err: "caCertificates[0].trustDomains: 0 of them"},
		{name: "two trust domains", written: "[{spiffeBundleUrl: https://a, trustDomains: [a, b]}]", err: "caCertificates[0].trustDomains: 2 of them, but what https://a has vouches for one"},
		{name: "twice", written: "[{spiffeBundleUrl: https://a, trustDomains: [a]}, {spiffeBundleUrl: https://b, trustDomains: [a]}]", err: `caCertificates[1].trustDomains: "a" has a bundle in caCertificates[0] already`},
		{name: "pem", written: "[{pem: x, trustDomains: [a]}]", err: "caCertificates[0].pem: is not obeyed here; bring it as a Secret"},
		{name: "signers", written: "[{spiffeBundleUrl: https://a, trustDomains: [a], certSigners: [b]}]", err: "caCertificates[0].certSigners: is not obeyed"},
		{name: "too many", written: "[" + strings.Repeat("{},", 101) + "]", err: "caCertificates: 101 entries, at most 100"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := MeshCACertificates(c.written)
			if !slices.Equal(got, c.want) || (c.err == "") != (err == nil) || !strings.Contains(fmt.Sprint(err), c.err) {
				t.Errorf("%v, %v; want %v, %s", got, err, c.want, c.err)
			}
		})
	}
}

func FuzzMeshCACertificates(f *testing.F) {
	f.Add("[{spiffeBundleUrl: https://a.example/b, trustDomains: [prod.example]}]")
	f.Add("[{pem: x}, null]")
	f.Fuzz(func(t *testing.T, written string) {
		a, err := MeshCACertificates(written)
		b, again := MeshCACertificates(written)
		if !slices.Equal(a, b) || fmt.Sprint(err) != fmt.Sprint(again) {
			t.Errorf("%v, %v, then %v, %v", a, err, b, again)
		}
		for _, bundle := range a {
			if bundle.URL == "" {
				t.Errorf("%v has no address", bundle)
			}
		}
	})
}

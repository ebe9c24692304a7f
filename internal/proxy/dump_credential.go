package proxy

import (
	"crypto/x509"
	"fmt"
	"time"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/directory"
	"fairlead.dev/fairlead/internal/proxy/upstream"
)

// dumpCredentials lists what is held of Secrets for TLS that the proxy begins, under the names that Istio gives them: of keys,
// nothing.
func (p *Proxy) dumpCredentials(d *admin.Dump) {
	names, states := directory.Credentials(p.directory)
	for i, c := range states {
		d.Secrets = append(d.Secrets, credentialRows(names[i], c)...)
	}
}

func credentialRows(name string, c *upstream.Credential) []admin.SecretDump {
	n, _ := plan.ParseName(name)
	row := admin.SecretDump{Name: "kubernetes://" + n.Secret, Type: "Cert Chain", Status: "ACTIVE", Source: c.Source}
	if n.Kind == plan.NameRoots {
		row.Name, row.Type = row.Name+model.CASecretSuffix, "CA"
	}
	switch {
	case c.Err != nil:
		row.Status, row.Problem = "ERROR", c.Err.Error()
	case c.Pair != nil:
		return []admin.SecretDump{certificateRow(row, c.Pair.Leaf)}
	case len(c.Roots) > 0:
		var out []admin.SecretDump
		for _, root := range c.Roots {
			out = append(out, certificateRow(row, root))
		}
		return out
	default:
		row.Status = "WARMING"
	}
	return []admin.SecretDump{row}
}

func certificateRow(row admin.SecretDump, c *x509.Certificate) admin.SecretDump {
	now := time.Now()
	row.Serial, row.Subject = fmt.Sprintf("%x", c.SerialNumber), c.Subject.String()
	row.NotBefore, row.NotAfter, row.Valid = c.NotBefore, c.NotAfter, !now.Before(c.NotBefore) && !now.After(c.NotAfter)
	return row
}

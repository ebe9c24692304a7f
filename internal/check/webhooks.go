package check

import (
	"crypto/x509"
	"fmt"
	"slices"
)

func webhookRules() []rule {
	return []rule{
		{"webhook-service", "Service has the webhook port", judgeService},
		{"webhook-endpoints", "Service has ready endpoints", judgeEndpoints},
		{"webhook-certificate", "serving certificate is valid for the caBundle", judgeServing},
		{"webhook-renewal", "serving certificate is renewed in time", judgeRenewal},
	}
}

func judgeService(f *Facts) verdict {
	if f.Service.absent() {
		return fail(hintReinstall, fmt.Sprintf("there is no Service %s/%s: the API server cannot reach the webhooks, sidecars cannot reach the control plane", f.System, Controller))
	}
	if f.Service.Err != nil {
		return unknown(f.Service.Err)
	}
	var wrong []string
	for _, port := range []struct {
		number int32
		whose  string
	}{{443, "the webhooks"}, {15012, "sidecars"}} {
		has := false
		for i := range f.Service.Value.Spec.Ports {
			has = has || f.Service.Value.Spec.Ports[i].Port == port.number
		}
		if !has {
			wrong = append(wrong, fmt.Sprintf("Service %s/%s has no port %d, that of %s", f.System, Controller, port.number, port.whose))
		}
	}
	return judge(wrong, fail, hintReinstall)
}

func judgeEndpoints(f *Facts) verdict {
	if f.Endpoints.Err != nil {
		return unknown(f.Endpoints.Err)
	}
	for _, e := range f.Endpoints.Value {
		if e.Ready {
			return pass()
		}
	}
	what := fmt.Sprintf("Service %s/%s has no endpoints", f.System, Controller)
	if n := len(f.Endpoints.Value); n > 0 {
		what = fmt.Sprintf("Service %s/%s has %s, none of them ready", f.System, Controller, counted(n, "endpoint"))
	}
	return fail("see fairlead-controller below; until then pods of namespaces that opted in are refused", what)
}

// judgeServing makes the check that the API server makes before it asks a webhook.
func judgeServing(f *Facts) verdict {
	ready := f.ready()
	if len(ready) == 0 {
		return warn("see the pods in fairlead-controller", "not checked: no control plane pod is ready")
	}
	bundle, err := f.bundle()
	if err != nil {
		return warn("see fairlead-config above", "not checked: "+err.Error())
	}
	name := fmt.Sprintf("%s.%s.svc", Controller, f.System)
	var wrong []string
	for i := range ready {
		r := &ready[i]
		if r.Serving.Err != nil {
			wrong = append(wrong, fmt.Sprintf("pod %s: %v", r.Pod, r.Serving.Err))
			continue
		}
		chain := r.Serving.Value
		_, err := chain[0].Verify(x509.VerifyOptions{
			DNSName: name, Roots: pool(bundle), Intermediates: pool(chain[1:]), CurrentTime: f.now(),
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		})
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("pod %s: %v", r.Pod, err))
		}
	}
	return judge(wrong, fail, fmt.Sprintf("the API server refuses it too; restart the control plane if this stays: kubectl rollout restart -n %s deploy/%s", f.System, Controller))
}

// ready are the replicas that the API server is sent to.
func (f *Facts) ready() []Replica {
	return slices.DeleteFunc(slices.Clone(f.Replicas), func(r Replica) bool { return !r.Ready })
}

// bundle is what the API server trusts of the injector.
func (f *Facts) bundle() ([]*x509.Certificate, error) {
	if f.Webhooks.Err != nil {
		return nil, f.Webhooks.Err
	}
	own := f.own(injectorWebhook)
	if len(own) == 0 {
		return nil, fmt.Errorf("there is no MutatingWebhookConfiguration %s", injectorWebhook)
	}
	certs, err := parseCertificates(own[0].CABundle)
	if err != nil {
		return nil, fmt.Errorf("caBundle of %s: %w", own[0].Name, err)
	}
	return certs, nil
}

// judgeRenewal finds certificates that should have been replaced: it is done at half of their life.
func judgeRenewal(f *Facts) verdict {
	ready := f.ready()
	if len(ready) == 0 {
		return warn("see the pods in fairlead-controller", "not checked: no control plane pod is ready")
	}
	var late []string
	for i := range ready {
		r := &ready[i]
		if r.Serving.Err != nil {
			continue // the check before this one says so
		}
		leaf := r.Serving.Value[0]
		left, life := leaf.NotAfter.Sub(f.now()), leaf.NotAfter.Sub(leaf.NotBefore)
		if left < life/4 {
			late = append(late, fmt.Sprintf("pod %s: certificate of %s ends on %s and is not renewed", r.Pod, day(leaf.NotBefore), day(leaf.NotAfter)))
		}
	}
	return judge(late, warn, f.hintLog())
}

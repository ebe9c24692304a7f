package check

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// rule is one check: what holds when it passes, where it is described, and how to tell.
type rule struct {
	anchor, name string
	judge        func(*Facts) verdict
}

// subject is a category before it is judged.
type subject struct {
	name  string
	rules []rule
}

// verdict is what a rule says of the facts.
type verdict struct {
	status  Status
	details []string
	hint    string
	// stop leaves out everything after this rule: it would only repeat the same trouble.
	stop bool
}

func pass() verdict { return verdict{status: Passed} }

// warn and fail take what is wrong, and what to do about it.
func warn(hint string, details ...string) verdict {
	return verdict{status: Warned, hint: hint, details: details}
}

func fail(hint string, details ...string) verdict {
	return verdict{status: Failed, hint: hint, details: details}
}

// judge is pass where nothing was found.
func judge(found []string, otherwise func(string, ...string) verdict, hint string) verdict {
	if len(found) == 0 {
		return pass()
	}
	return otherwise(hint, found...)
}

// Evaluate says of the facts what is well and what is not.
func Evaluate(f *Facts) Report {
	report := Report{}
	for _, s := range subjects(f) {
		c := Category{Name: s.name}
		for _, r := range s.rules {
			v := r.judge(f)
			c.Results = append(c.Results, Result{Name: r.name, Anchor: r.anchor, Status: v.status, Details: v.details, Hint: v.hint})
			if v.stop {
				return append(report, c)
			}
		}
		report = append(report, c)
	}
	return report
}

// subjects are the categories that the scope asks for, in the order in which one depends on the other.
func subjects(f *Facts) []subject {
	list := []subject{{"kubernetes-api", apiRules()}}
	if f.Scope.Pre {
		return append(list, subject{"pre-install", preRules()})
	}
	list = append(list,
		subject{"fairlead-config", configRules()},
		subject{"fairlead-identity", identityRules()},
		subject{"fairlead-webhooks", webhookRules()},
		subject{"fairlead-controller", controllerRules()},
	)
	if f.CNI.Err == nil || !f.CNI.absent() || usesCNI(f) {
		list = append(list, subject{"fairlead-cni", cniRules()})
	}
	if f.Scope.Proxy {
		list = append(list, subject{"fairlead-data-plane", proxyRules()})
	}
	return list
}

// unknown is the verdict where the question itself failed. A user may lack the right to read something that works all
// the same, so that is no failure.
func unknown(err error) verdict {
	switch {
	case apierrors.IsForbidden(err):
		return warn("run this with an account that may read it", "not checked: "+err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		return warn("run this again; if it stays, look at the load of the API server", "not checked: "+err.Error())
	}
	return fail("run this again; if it stays, try the same with kubectl", err.Error())
}

// listed joins names for one line.
func listed(names []string) string { return strings.Join(names, ", ") }

// counted is "1 pod" or "2 pods".
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

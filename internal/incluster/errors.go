package incluster

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// TemporaryError means that nothing was decided because the API server could not be asked. The same call can succeed
// later.
type TemporaryError struct{ Err error }

// Error gives one line.
func (e *TemporaryError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *TemporaryError) Unwrap() error { return e.Err }

// Temporary is always true. Servers look for this method to tell UNAVAILABLE from UNAUTHENTICATED.
func (e *TemporaryError) Temporary() bool { return true }

// explain gives an error of the API server or of the way to it a line that says what was asked for and, where the
// controller may not, which rule is missing. Predicates such as apierrors.IsNotFound still see the cause.
func explain(err error, verb string, t target) error {
	if err == nil {
		return nil
	}
	what := verb + " " + t.String()
	status, answered := errors.AsType[*apierrors.StatusError](err)
	switch {
	case !answered:
		return fmt.Errorf("%s: API server not reached: %w", what, unwrapURL(err))
	case apierrors.IsForbidden(err):
		return &forbiddenError{verb: verb, target: t, status: status}
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("%s: the API server does not accept the credentials of this controller: %w", what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// unwrapURL removes the URL that net/http puts before an error, with a query of 300 characters for a watch.
func unwrapURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		if u.Timeout() && errors.Is(u.Err, context.DeadlineExceeded) {
			return fmt.Errorf("no answer in time: %w", u.Err)
		}
		return u.Err
	}
	return err
}

// forbiddenError is a refusal by RBAC, or by something that speaks in its name.
type forbiddenError struct {
	verb   string
	target target
	status *apierrors.StatusError
}

// Error names the rule that is missing in the form in which it is written into a Role.
func (e *forbiddenError) Error() string {
	names := ""
	if e.target.name != "" {
		names = fmt.Sprintf(", resourceNames: [%s]", e.target.name)
	}
	return fmt.Sprintf("%s %s: not allowed, the roles of this controller lack {apiGroups: [%q], resources: [%s]%s, verbs: [%s]} (%s)",
		e.verb, e.target, e.target.group, e.target.rule(), names, e.verb, reason(e.status))
}

// Unwrap gives the API server's status.
func (e *forbiddenError) Unwrap() error { return e.status }

// reason is the end of the message, such as `User "x" cannot get …`; its beginning repeats the object.
func reason(s *apierrors.StatusError) string {
	message := s.Error()
	if _, end, ok := strings.Cut(message, "is forbidden: "); ok {
		return end
	}
	return message
}

// causeOf is what errors about different objects have in common.
func causeOf(err error) string {
	if status, ok := errors.AsType[*apierrors.StatusError](err); ok {
		return fmt.Sprint(status.ErrStatus.Code, status.ErrStatus.Reason)
	}
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}

package view

import (
	"fmt"
	"slices"
	"strings"
)

// Kind is a kind of resources that traffic is told by.
type Kind struct {
	// Name is the singular in lower case, Short what kubectl calls it, Model the word of [traffic.Pod] where it is a kind of
	// workloads.
	Name, Short, Model string
	aliases            []string
}

// Kinds are all that there are, in the order in which "all" prints them.
var Kinds = []Kind{ //nolint:gochecknoglobals // a table that never changes
	{"daemonset", "ds", "DaemonSet", []string{"daemonsets"}},
	{"statefulset", "sts", "StatefulSet", []string{"statefulsets"}},
	{"job", "job", "Job", []string{"jobs"}},
	{"cronjob", "cj", "CronJob", []string{"cronjobs"}},
	{"replicaset", "rs", "ReplicaSet", []string{"replicasets"}},
	{"replicationcontroller", "rc", "ReplicationController", []string{"replicationcontrollers"}},
	{"deployment", "deploy", "Deployment", []string{"deployments"}},
	{"pod", "po", "", []string{"pods"}},
	{"service", "svc", "", []string{"services"}},
	{"namespace", "ns", "", []string{"namespaces"}},
}

// Resource is what a user asks for: a kind, and one of it by its name, or all where the name is empty.
type Resource struct {
	Kind Kind
	Name string
}

func (r *Resource) String() string {
	if r.Name == "" {
		return r.Kind.Short
	}
	return r.Kind.Short + "/" + r.Name
}

// All is the word for every kind.
const All = "all"

// ParseResources reads what kubectl takes: "deploy", "deploy/web", "deploy web api", "po/a svc/b", "deploy,sts", "all".
func ParseResources(args []string) ([]Resource, error) {
	if len(args) == 1 && strings.Contains(args[0], ",") {
		return parseList(strings.Split(args[0], ","))
	}
	if len(args) == 1 && args[0] == All {
		return ofAllKinds(), nil
	}
	var out []Resource
	for i, arg := range args {
		kind, name, named := strings.Cut(arg, "/")
		if i > 0 && !named && len(out) > 0 && !strings.Contains(args[0], "/") { // deploy web api
			if out[0].Name == "" {
				out = out[:0]
			}
			first, err := ParseKind(args[0])
			if err != nil {
				return nil, err
			}
			out = append(out, Resource{first, arg})
			continue
		}
		k, err := ParseKind(kind)
		if err != nil {
			return nil, err
		}
		if named && (name == "" || strings.Contains(name, "/")) {
			return nil, fmt.Errorf("%q is no name of a resource: write %s/NAME", arg, k.Short)
		}
		out = append(out, Resource{k, name})
	}
	return out, nil
}

// ofAllKinds are all resources but namespaces.
func ofAllKinds() (all []Resource) {
	for _, k := range Kinds {
		if k.Name != "namespace" {
			all = append(all, Resource{Kind: k})
		}
	}
	return all
}

// parseList reads "deploy,sts": each word by itself.
func parseList(words []string) (all []Resource, err error) {
	for _, word := range words {
		some, err := ParseResources([]string{word})
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// ParseKind reads the name of a kind.
func ParseKind(word string) (Kind, error) {
	lower := strings.ToLower(word)
	var known []string
	for _, k := range Kinds {
		if lower == k.Name || lower == k.Short || slices.Contains(k.aliases, lower) {
			return k, nil
		}
		known = append(known, k.Short)
	}
	return Kind{}, fmt.Errorf("cannot find the kind %q: use one of %s", word, strings.Join(known, ", "))
}

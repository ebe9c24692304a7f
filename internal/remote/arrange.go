package remote

import (
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"

	"fairlead.dev/fairlead/internal/source"
)

// clusterName is what a cluster may be called: it is part of names of resources, of file names and of metrics.
var clusterName = regexp.MustCompile(`^[a-zA-Z0-9]([-a-zA-Z0-9_.]{0,61}[a-zA-Z0-9])?$`)

// CheckName says what is wrong with the name of a cluster.
func CheckName(name string) error {
	if !clusterName.MatchString(name) {
		return fmt.Errorf("%q is no name of a cluster: write up to 63 letters, digits, dashes, dots and underscores", name)
	}
	return nil
}

// arrange has the clusters that are followed be those that are declared. It is called with the lock held.
func (s *Set) arrange() {
	clear(s.refused)
	wanted := make(map[string]string) // the declarer whose word counts, by the name of the cluster
	for _, by := range slices.Sorted(maps.Keys(s.declared)) {
		for name := range s.declared[by] {
			s.choose(wanted, by, name)
		}
	}
	for name, c := range s.clusters {
		if wanted[name] != "" {
			continue
		}
		s.end(c)
		delete(s.clusters, name)
		s.emit(source.Change{Deletes: c.deletes(nil)})
		s.tell(c, Known{Gone: true})
		s.o.Logger.Info("cluster is no longer one of the mesh", slog.String("cluster", name), slog.String("declared_by", c.by))
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		s.follow(name, wanted[name])
	}
	s.wake()
}

// choose notes who declares a cluster: who did so until now goes before others, then the first by name.
func (s *Set) choose(wanted map[string]string, by, name string) {
	before, taken := wanted[name]
	known := s.clusters[name]
	switch err := CheckName(name); {
	case err != nil:
		s.refused[refusal{by, name}] = err.Error()
	case name == s.o.Own:
		s.refused[refusal{by, name}] = name + " is the name of this cluster itself: give each cluster of the mesh a name of its own"
	case !taken && len(wanted) == MaxClusters:
		s.refused[refusal{by, name}] = fmt.Sprintf("there are %d other clusters already", MaxClusters)
	case !taken:
		wanted[name] = by
	case s.declared[by][name].Apart != s.declared[before][name].Apart:
		if s.declared[before][name].Apart {
			wanted[name] = by
		}
	case known != nil && known.by == by:
		s.refused[refusal{before, name}] = declaredTwice(name, by)
		wanted[name] = by
	default:
		s.refused[refusal{by, name}] = declaredTwice(name, before)
	}
}

// declaredTwice says that a cluster is declared twice.
func declaredTwice(name, by string) string {
	return fmt.Sprintf("cluster %s is declared by %s already: remove one, or give the clusters different names", name, by)
}

// follow starts to follow a cluster, or follows it in another way. What cannot be followed leaves the former way as it is.
func (s *Set) follow(name, by string) {
	spec := s.declared[by][name]
	c := s.clusters[name]
	if c == nil {
		c = &cluster{set: s, name: name, known: make(map[objectID]struct{})}
		s.clusters[name] = c
	}
	c.by = by
	s.tell(c, Known{Apart: spec.Apart, Heard: c.everDone})
	if c.print == spec.Print {
		return
	}
	c.print = spec.Print
	opened, err := spec.Open()
	if c.unusable = ""; err != nil {
		c.unusable = err.Error()
		s.o.Logger.Warn("cluster cannot be followed", slog.String("cluster", name), slog.String("declared_by", by), slog.String("reason", c.unusable))
		if c.source == nil {
			c.failed = c.unusable
		}
		return
	}
	s.end(c)
	c.source, c.heard, c.failed = opened, false, ""
	if s.ctx != nil {
		s.start(c)
	}
}

package lab

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// volume is one volume of a pod, as a value.
type volume struct {
	name string
	kind volumeKind
	// files are what a volume of files holds, by path.
	files map[string]volumeFile
	// at is the directory or file of the machine, or the name of the claim.
	at string
}

type volumeKind uint8

const (
	// emptyVolume is a directory that ends with the pod.
	emptyVolume volumeKind = iota + 1
	// filesVolume is a directory with files that the lab keeps up to date, and that containers cannot change.
	filesVolume
	// hostVolume is a directory or file of the machine.
	hostVolume
	// claimVolume is a directory that ends with the lab.
	claimVolume
	// absentVolume is one of a sort that the lab has not; it is mounted nowhere, and warned of.
	absentVolume
)

type volumeFile struct {
	content string
	mode    uint32
}

// defaultFileMode is the API server's default of defaultMode.
const defaultFileMode int32 = 0o644

// mount puts a volume, or a part of it, at a path of a container.
type mount struct {
	volume   string
	path     string
	subPath  string
	readOnly bool
}

// newVolumes translates a pod's volumes. What is missing and must be there is an error, so that the pod waits for it.
func newVolumes(p *podSpec, src podSource) ([]volume, error) {
	var out []volume
	var errs []error
	names := map[string]bool{}
	for i := range p.template.Spec.Volumes {
		v := &p.template.Spec.Volumes[i]
		made, err := newVolume(p, v, src)
		if err == nil && names[v.Name] {
			err = errors.New("there are two of this name")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("volume %q: %w", v.Name, err))
		}
		names[v.Name] = true
		out = append(out, made)
	}
	return out, errors.Join(errs...)
}

// kindOfVolume says how a volume is made.
func kindOfVolume(v *corev1.Volume) volumeKind {
	switch {
	case v.ConfigMap != nil, v.Secret != nil, v.DownwardAPI != nil, v.Projected != nil:
		return filesVolume
	case v.HostPath != nil:
		return hostVolume
	case v.PersistentVolumeClaim != nil:
		return claimVolume
	case v.VolumeSource == (corev1.VolumeSource{}), v.EmptyDir != nil, v.Ephemeral != nil: // nothing said is an emptyDir
		return emptyVolume
	}
	return absentVolume
}

// namesRoot reports whether the mesh's root certificate is in a volume.
func namesRoot(v corev1.Volume) bool {
	if v.ConfigMap != nil {
		return v.ConfigMap.Name == rootCertMap
	}
	return v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool {
		return s.ConfigMap != nil && s.ConfigMap.Name == rootCertMap
	})
}

func newVolume(p *podSpec, v *corev1.Volume, src podSource) (out volume, err error) {
	out = volume{name: v.Name, kind: kindOfVolume(v)}
	switch out.kind {
	case filesVolume:
		out.files, err = volumeFiles(p, v, src)
	case hostVolume:
		out.at = path.Clean(v.HostPath.Path)
		if !path.IsAbs(v.HostPath.Path) {
			err = fmt.Errorf("hostPath.path %q is not absolute", v.HostPath.Path)
		}
	case claimVolume:
		out.at = v.PersistentVolumeClaim.ClaimName
		if out.at == "" || strings.ContainsAny(out.at, "/_") {
			err = fmt.Errorf("persistentVolumeClaim.claimName %q is no name", out.at)
		}
	case emptyVolume, absentVolume:
	}
	return out, err
}

// volumeFiles gives the files of a volume of files.
func volumeFiles(p *podSpec, v *corev1.Volume, src podSource) (map[string]volumeFile, error) {
	w := fileWriter{p: p, data: src.data, token: src.token, files: map[string]volumeFile{}}
	var err error
	switch {
	case v.ConfigMap != nil:
		w.mode = mode(v.ConfigMap.DefaultMode)
		err = w.object(kindConfigMap, v.ConfigMap.Name, v.ConfigMap.Items, v.ConfigMap.Optional)
	case v.Secret != nil:
		w.mode = mode(v.Secret.DefaultMode)
		err = w.object(kindSecret, v.Secret.SecretName, v.Secret.Items, v.Secret.Optional)
	case v.DownwardAPI != nil:
		w.mode = mode(v.DownwardAPI.DefaultMode)
		err = w.fields(v.DownwardAPI.Items)
	case v.Projected != nil:
		w.mode = mode(v.Projected.DefaultMode)
		for i := range v.Projected.Sources {
			err = errors.Join(err, w.projection(&v.Projected.Sources[i]))
		}
	}
	return w.files, err
}

func mode(of *int32) int32 {
	if of == nil {
		return defaultFileMode
	}
	return *of
}

// fileWriter collects the files of a volume.
type fileWriter struct {
	p     *podSpec
	data  dataSource
	token func(p *podSpec, audience string) (string, error)
	mode  int32
	files map[string]volumeFile
}

// put adds a file; own is its mode where it has one of its own.
func (w *fileWriter) put(name, content string, own *int32) error {
	if name == "" || path.IsAbs(name) || strings.HasPrefix(name, "..") || slices.Contains(strings.Split(name, "/"), "..") {
		return fmt.Errorf("path %q must be relative, must not begin with \"..\" and not lead upwards", name)
	}
	perm := w.mode
	if own != nil {
		perm = *own
	}
	if perm < 0 || perm > 0o777 {
		return fmt.Errorf("mode %d of %s is not between 0 and 0777 (octal)", perm, name)
	}
	w.files[path.Clean(name)] = volumeFile{content: content, mode: uint32(perm)}
	return nil
}

// object adds the keys of a ConfigMap or Secret, all of them or those of items.
func (w *fileWriter) object(kind, name string, items []corev1.KeyToPath, optional *bool) error {
	found, err := w.data.get(kind, name, optional)
	if err != nil {
		return err
	}
	all := found.all()
	if len(items) == 0 {
		for key, content := range all {
			err = errors.Join(err, w.put(key, content, nil))
		}
		return err
	}
	for _, item := range items {
		content, there := all[item.Key]
		switch {
		case there:
			err = errors.Join(err, w.put(item.Path, content, item.Mode))
		case optional == nil || !*optional:
			err = errors.Join(err, fmt.Errorf("%s %s has no key %q", kind, name, item.Key))
		}
	}
	return err
}

// fields adds what the downward API offers.
func (w *fileWriter) fields(items []corev1.DownwardAPIVolumeFile) error {
	var errs []error
	for i := range items {
		item := &items[i]
		var content string
		var err error
		switch {
		case item.FieldRef != nil:
			content, err = volumeField(w.p, item.FieldRef.FieldPath)
		case item.ResourceFieldRef != nil:
			content, err = resourceOf(w.p, item.ResourceFieldRef)
		default:
			err = fmt.Errorf("item %q has neither fieldRef nor resourceFieldRef", item.Path)
		}
		if err == nil {
			err = w.put(item.Path, content, item.Mode)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (w *fileWriter) projection(s *corev1.VolumeProjection) error {
	switch {
	case s.ConfigMap != nil:
		return w.object(kindConfigMap, s.ConfigMap.Name, s.ConfigMap.Items, s.ConfigMap.Optional)
	case s.Secret != nil:
		return w.object(kindSecret, s.Secret.Name, s.Secret.Items, s.Secret.Optional)
	case s.DownwardAPI != nil:
		return w.fields(s.DownwardAPI.Items)
	case s.ServiceAccountToken != nil:
		token, err := w.token(w.p, s.ServiceAccountToken.Audience)
		if err != nil {
			return err
		}
		return w.put(s.ServiceAccountToken.Path, token, nil)
	}
	return nil // warned of
}

// volumeField is a field as a file: unlike a variable it may be all labels or all annotations.
func volumeField(p *podSpec, fieldPath string) (string, error) {
	switch fieldPath {
	case "metadata.labels":
		return keyValues(p.labels), nil
	case "metadata.annotations":
		return keyValues(p.annotations), nil
	}
	return podField(p, fieldPath)
}

// keyValues writes a map as the downward API does, key="escaped value" lines in the order of keys.
func keyValues(m map[string]string) string {
	lines := make([]string, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		lines = append(lines, k+"="+strconv.Quote(m[k]))
	}
	return strings.Join(lines, "\n")
}

// newMounts translates where a container has its volumes. values are its variables.
func newMounts(p *podSpec, c *corev1.Container, values map[string]string) ([]mount, error) {
	var out []mount
	var errs []error
	taken := map[string]bool{}
	for i := range c.VolumeMounts {
		m := &c.VolumeMounts[i]
		at := slices.IndexFunc(p.volumes, func(v volume) bool { return v.name == m.Name })
		sub := m.SubPath
		if m.SubPathExpr != "" {
			sub = expand(m.SubPathExpr, values)
		}
		to := path.Clean(m.MountPath)
		var err error
		switch {
		case at < 0:
			err = fmt.Errorf("the pod has no volume %q", m.Name)
		case !path.IsAbs(m.MountPath) || to == "/":
			err = fmt.Errorf("mountPath %q must be absolute, and not the root", m.MountPath)
		case taken[to]:
			err = fmt.Errorf("mountPath %q is that of another volume too", m.MountPath)
		case path.IsAbs(sub) || slices.Contains(strings.Split(sub, "/"), ".."):
			err = fmt.Errorf("subPath %q must be relative and must not contain \"..\"", sub)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("volumeMounts[%d]: %w", i, err))
			continue
		}
		taken[to] = true
		v := &p.volumes[at]
		if v.kind != absentVolume {
			out = append(out, mount{volume: m.Name, path: to, subPath: sub, readOnly: m.ReadOnly || v.kind == filesVolume})
		}
	}
	slices.SortFunc(out, func(a, b mount) int { return strings.Compare(a.path, b.path) }) // what holds others comes first
	return out, errors.Join(errs...)
}

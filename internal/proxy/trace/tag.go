package trace

import (
	"cmp"
	"unicode/utf8"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/telemetry"
)

// tag is a tag of a user, ready to be added.
type tag struct {
	name, header, value string
	format              *telemetry.LogFormat
}

// newTag reads the environment where a tag is from there. A tag that says nothing has no name.
func newTag(t model.TraceTag, o *Options) tag {
	switch t.From {
	case model.TagLiteral:
		return tag{name: t.Name, value: t.Value}
	case model.TagEnvironment:
		if v := cmp.Or(o.Env(t.Value), t.Default); v != "" {
			return tag{name: t.Name, value: v}
		}
	case model.TagHeader:
		return tag{name: t.Name, header: t.Value, value: t.Default}
	case model.TagFormat:
		if t.Value != "" {
			return tag{name: t.Name, format: telemetry.NewLogFormat(&model.LogFormat{Text: t.Value}, o.Host)}
		}
	}
	return tag{}
}

// of gives the value for a request, nothing for none. It may be in scratch.
func (t *tag) of(r *telemetry.Record, scratch []byte) []byte {
	if t.format != nil {
		return t.format.AppendValue(scratch[:0], r)
	}
	if t.header != "" && r.Header != nil {
		if v := r.Header.Get(t.header); len(v) > 0 {
			return v
		}
	}
	if t.value == "" {
		return nil
	}
	return []byte(t.value)
}

// cut shortens a value, at the end of a character.
func cut(v []byte, most int) []byte {
	if len(v) <= most {
		return v
	}
	for most > 0 && !utf8.RuneStart(v[most]) {
		most--
	}
	return v[:most]
}

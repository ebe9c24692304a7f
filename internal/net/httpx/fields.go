package httpx

import "slices"

// Fields is an ordered list of header fields in one buffer. The zero value is empty and ready. Lookups ignore
// ASCII case (RFC 9110 §5.1). Slices handed out stay valid until Reset.
type Fields struct {
	buf  []byte
	list []field
}

type field struct {
	name, value span
}

type span struct{ off, len uint32 }

func (f *Fields) at(s span) []byte { return f.buf[s.off : s.off+s.len : s.off+s.len] }

// Reset empties the list and keeps the memory.
func (f *Fields) Reset() {
	f.buf = f.buf[:0]
	f.list = f.list[:0]
}

// Trim empties the list and gives back memory for bytes beyond most, for a head that will not be used for a while.
func (f *Fields) Trim(most int) {
	f.Reset()
	if cap(f.buf) > most {
		f.buf = nil
	}
}

// Len is the number of fields.
func (f *Fields) Len() int { return len(f.list) }

// Size is the number of bytes in use, an upper bound of what the fields take on the wire without separators.
func (f *Fields) Size() int { return len(f.buf) }

// At gives the i-th field.
func (f *Fields) At(i int) (name, value []byte) {
	return f.at(f.list[i].name), f.at(f.list[i].value)
}

// Get gives the first value of name, nil where there is none. A field that is present and empty gives a
// non-nil empty slice.
func (f *Fields) Get(name string) []byte {
	if i := f.index(name, 0); i >= 0 {
		return f.at(f.list[i].value)
	}
	return nil
}

// Next gives the index of the first field called name at or after from, -1 where there is none.
func (f *Fields) Next(name string, from int) int { return f.index(name, from) }

func (f *Fields) index(name string, from int) int {
	for i := from; i < len(f.list); i++ {
		if s := f.list[i].name; int(s.len) == len(name) && EqualFold(f.at(s), name) {
			return i
		}
	}
	return -1
}

// Add appends a field. The bytes are copied.
func (f *Fields) Add(name, value []byte) {
	f.list = append(f.list, field{f.put(name), f.put(value)})
}

// AddString is Add for strings.
func (f *Fields) AddString(name, value string) {
	f.list = append(f.list, field{f.putString(name), f.putString(value)})
}

// AddName is Add for a name known at compile time.
func (f *Fields) AddName(name string, value []byte) {
	f.list = append(f.list, field{f.putString(name), f.put(value)})
}

// Respell gives the i-th field its name in other case. It reports false, and changes nothing, where name is another one.
func (f *Fields) Respell(i int, name []byte) bool {
	have := f.at(f.list[i].name)
	if len(have) != len(name) {
		return false
	}
	for j, c := range have {
		if lower(c) != lower(name[j]) {
			return false
		}
	}
	copy(have, name)
	return true
}

// Set replaces every field called name by one; its place is that of the first.
func (f *Fields) Set(name, value string) {
	i := f.index(name, 0)
	if i < 0 {
		f.AddString(name, value)
		return
	}
	f.list[i].value = f.putString(value)
	f.delFrom(name, i+1)
}

// Del removes every field called name.
func (f *Fields) Del(name string) { f.delFrom(name, 0) }

// DelPrefix removes every field whose name begins with prefix.
func (f *Fields) DelPrefix(prefix string) {
	kept := f.list[:0]
	for _, fd := range f.list {
		if int(fd.name.len) < len(prefix) || !EqualFold(f.buf[fd.name.off:fd.name.off+uint32(len(prefix))], prefix) {
			kept = append(kept, fd)
		}
	}
	f.list = kept
}

func (f *Fields) delFrom(name string, from int) {
	i := f.index(name, from)
	if i < 0 {
		return
	}
	kept := f.list[:i]
	for _, fd := range f.list[i:] {
		if int(fd.name.len) != len(name) || !EqualFold(f.at(fd.name), name) {
			kept = append(kept, fd)
		}
	}
	f.list = kept
}

// CopyFrom makes f a copy of o.
func (f *Fields) CopyFrom(o *Fields) {
	f.buf = append(f.buf[:0], o.buf...)
	f.list = append(f.list[:0], o.list...)
}

// AppendBlock takes a whole header block at once and returns where it starts, for codecs that then call AddSpan
// with offsets inside it.
func (f *Fields) AppendBlock(block []byte) (start int) {
	start = len(f.buf)
	f.buf = append(f.buf, block...)
	return start
}

// AddSpan adds a field whose name and value lie in bytes given to AppendBlock; offsets count from the start of
// the whole buffer.
func (f *Fields) AddSpan(nameOff, nameLen, valueOff, valueLen int) {
	f.list = append(f.list, field{
		span{uint32(nameOff), uint32(nameLen)},
		span{uint32(valueOff), uint32(valueLen)},
	})
}

// Scratch gives at least n bytes of free memory behind the fields, empty, to append to. What is appended is good until
// the list is next changed or Scratch is next called; Keep makes it last.
func (f *Fields) Scratch(n int) []byte {
	f.buf = slices.Grow(f.buf, n)
	return f.buf[len(f.buf):]
}

// Keep puts bytes that are no field behind the fields and gives them as they lie there, until Reset. What was appended
// to Scratch is there already, unless it outgrew the memory.
func (f *Fields) Keep(b []byte) []byte {
	s := f.put(b)
	return f.at(s)
}

// Block gives n bytes at off of the buffer, as AppendBlock stored them.
func (f *Fields) Block(off, n int) []byte { return f.buf[off : off+n : off+n] }

func (f *Fields) put(b []byte) span {
	s := span{uint32(len(f.buf)), uint32(len(b))}
	f.buf = append(f.buf, b...)
	return s
}

func (f *Fields) putString(b string) span {
	s := span{uint32(len(f.buf)), uint32(len(b))}
	f.buf = append(f.buf, b...)
	return s
}

// EqualFold compares ASCII without case.
func EqualFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if c != s[i] && lower(c) != lower(s[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

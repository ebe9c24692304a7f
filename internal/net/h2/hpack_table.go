package h2

// defaultTableSize is SETTINGS_HEADER_TABLE_SIZE by default, in the bytes of RFC 7541 §4.1.
const defaultTableSize = 4096

// entryOverhead is what an entry counts beyond its bytes, RFC 7541 §4.1.
const entryOverhead = 32

// dynamicEntry is a field whose name and value lie next to each other in the table's buffer.
type dynamicEntry struct {
	off, nameLen, valueLen uint32
	// valid says that the field keeps the rules for field names and values.
	valid bool
}

func (e dynamicEntry) size() uint32 { return e.nameLen + e.valueLen + entryOverhead }

// dynamicTable is the dynamic table of RFC 7541 §2.3.2: a queue of fields in one buffer. Memory grows with use.
type dynamicTable struct {
	buf     []byte
	entries []dynamicEntry // oldest first; entries[:first] are evicted
	first   int
	size    uint32
	max     uint32
	// inserted counts the entries ever added: the number of the newest.
	inserted uint32
}

// count is the number of entries.
func (t *dynamicTable) count() int { return len(t.entries) - t.first }

// at gives the i-th entry, 1 being the newest, and false where there is none. The slices are valid until add.
func (t *dynamicTable) at(i int) (name, value []byte, valid bool) {
	e := t.entries[len(t.entries)-i]
	return t.buf[e.off : e.off+e.nameLen], t.buf[e.off+e.nameLen : e.off+e.nameLen+e.valueLen], e.valid
}

// setMax changes the capacity, evicting what no longer fits.
func (t *dynamicTable) setMax(n uint32) {
	t.max = n
	t.evict(0)
}

// evict makes room for need bytes.
func (t *dynamicTable) evict(need uint32) {
	for t.first < len(t.entries) && t.size+need > t.max {
		t.size -= t.entries[t.first].size()
		t.first++
	}
	if t.first == len(t.entries) {
		t.entries, t.first, t.buf = t.entries[:0], 0, t.buf[:0]
	}
}

// add inserts a field and tells whether it fits. Name may point into the table.
func (t *dynamicTable) add(name, value []byte, valid bool) bool {
	e := dynamicEntry{nameLen: uint32(len(name)), valueLen: uint32(len(value)), valid: valid}
	if e.size() > t.max {
		t.clear()
		return false
	}
	// Copied before anything is evicted: the name may be that of an entry that has to go (RFC 7541 §4.4).
	e.off = uint32(len(t.buf))
	t.buf = append(t.buf, name...)
	t.buf = append(t.buf, value...)
	for t.first < len(t.entries) && t.size+e.size() > t.max {
		t.size -= t.entries[t.first].size()
		t.first++
	}
	t.entries = append(t.entries, e)
	t.size += e.size()
	t.inserted++
	t.compact()
	return true
}

// clear empties the table, which is what an entry larger than the table does (RFC 7541 §4.4).
func (t *dynamicTable) clear() {
	t.entries, t.first, t.buf, t.size = t.entries[:0], 0, t.buf[:0], 0
}

// compact moves the live entries to the front once the dead ones take more room than the table may.
func (t *dynamicTable) compact() {
	if t.first == 0 || t.first < len(t.entries)/2 {
		return
	}
	dead := t.entries[t.first].off
	if dead < t.max && t.first < 64 {
		return
	}
	t.buf = t.buf[:copy(t.buf, t.buf[dead:])]
	t.entries = t.entries[:copy(t.entries, t.entries[t.first:])]
	t.first = 0
	for i := range t.entries {
		t.entries[i].off -= dead
	}
}

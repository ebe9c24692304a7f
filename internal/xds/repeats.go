package xds

// repeats counts what a client is sent once more because it asks once more. It belongs to a book.
type repeats struct {
	answers bool // what is due answers a question, and no change
	dropped int  // bytes of what the client was sent and gave up: it may ask for them again
	bytes   int  // that are due, or were sent, once more; since take
}

// count notes a resource that is due, of so many bytes: news, where the client has another one or none, and the first, where it has none.
// What a client gave up is not known by name: as many bytes as it gave up are taken for those.
func (r *repeats) count(bytes int, news, first bool) {
	switch {
	case first:
		bytes = min(bytes, r.dropped)
		r.dropped -= bytes
	case news:
		return
	}
	r.bytes += bytes
}

// whole notes that all there is of a type goes in the place of what is due. Where that is because of a question the rest is sent once more.
func (r *repeats) whole(all, due []Resource) {
	if r.answers {
		r.bytes += bytesOf(all) - bytesOf(due)
	}
}

// take gives how many bytes were sent once more since the last time.
func (r *repeats) take() int {
	n := r.bytes
	r.bytes = 0
	return n
}

func bytesOf(list []Resource) int {
	n := 0
	for i := range list {
		n += len(list[i].Body)
	}
	return n
}

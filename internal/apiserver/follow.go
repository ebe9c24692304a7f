package apiserver

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	// A watch is renewed after watchTime to twice that, as Kubernetes' own clients do: it frees servers of watches
	// whose readers have gone, and spreads them over several servers. watchGrace later it is given up by this side.
	watchTime  = 5 * time.Minute
	watchGrace = 30 * time.Second
)

var (
	// ErrBrief is the error of a watch that the server accepts and closes again.
	ErrBrief = errors.New("the watch broke off as soon as it began")
	// ErrNoVersion is the error of an answer that is no list: every list has a version. An empty one of which that
	// is not sure would delete everything.
	ErrNoVersion = errors.New("the answer is no list: it has no resourceVersion")
)

// Collection says what is followed.
type Collection struct {
	// Path is that of the resource, across all namespaces or in one.
	Path string
	// Selector is a field selector. RBAC compares metadata.name in it with resourceNames.
	Selector string
	// Labels is a label selector.
	Labels string
	// Media is what objects may come in, best first, JSON where it is empty. MetadataOnly asks for nothing else of them.
	Media        []string
	MetadataOnly bool
}

// Sink is told of the objects of a collection, from the goroutine of Turn.
type Sink interface {
	// Decode reads an object. An object of a bookmark has nothing but a resourceVersion.
	Decode(Raw) (metav1.Object, error)
	// Begin says that a list begins: what is not set until Listed is gone.
	Begin()
	// Set gives an object that is new, or has changed, or is only listed again.
	Set(metav1.Object)
	Gone(metav1.Object)
	Listed()
	// Watching says that the server watches.
	Watching()
}

// Follower lists and watches a collection, and remembers where it was.
type Follower struct {
	Client     *Client
	Collection Collection
	Sink       Sink
	// Brief is the time in which a watch that ends without an event is too short to be one; none is where it is 0.
	Brief time.Duration

	resume string // the resourceVersion to watch from; "" asks for a list
}

// Resumes reports whether the next turn watches from where the last one was, rather than list.
func (f *Follower) Resumes() bool { return f.resume != "" }

// Turn lists if need be, watches until the watch ends, and says which of the two failed. Without an error the next turn
// can begin at once.
func (f *Follower) Turn(ctx context.Context) (verb string, err error) {
	if f.resume == "" {
		if err := f.list(ctx); err != nil {
			return "list", err
		}
	}
	err = f.watch(ctx)
	if Expired(err) {
		f.resume = ""
	}
	return "watch", err
}

func (f *Follower) list(ctx context.Context) error {
	f.Sink.Begin()
	version, err := f.Client.List(ctx, Request{
		Path: f.Collection.Path, Query: f.Collection.query(), Accept: f.Collection.accept(onlyOfList),
	}, func(raw Raw) error {
		o, err := f.Sink.Decode(raw)
		if err == nil {
			f.Sink.Set(o)
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case version == "":
		return ErrNoVersion
	}
	f.resume = version
	f.Sink.Listed()
	return nil
}

// watch follows changes until the watch ends. Nil means that another one can be begun where it ended.
func (f *Follower) watch(ctx context.Context) error {
	most := watchTime + rand.N(watchTime) //nolint:gosec // nothing is gained by guessing it
	bounded, cancel := context.WithTimeout(ctx, most+watchGrace)
	defer cancel()
	query := f.Collection.query()
	query.Set("watch", "true")
	query.Set("allowWatchBookmarks", "true")
	query.Set("resourceVersion", f.resume)
	query.Set("timeoutSeconds", strconv.Itoa(int(most.Seconds())))
	start := time.Now()
	w, err := f.Client.Watch(bounded, Request{Path: f.Collection.Path, Query: query, Accept: f.Collection.accept(onlyMetadata)})
	if err != nil {
		return err
	}
	defer w.Close()
	f.Sink.Watching()
	seen := false
	for {
		event, err := w.Next()
		switch {
		case errors.Is(err, io.EOF), err != nil && bounded.Err() != nil && ctx.Err() == nil:
			if !seen && time.Since(start) < f.Brief {
				return ErrBrief
			}
			return nil
		case err != nil:
			return err
		}
		if err := f.event(event); err != nil {
			return err
		}
		seen = true
	}
}

// event takes one event of a watch.
func (f *Follower) event(e Event) error {
	o, err := f.Sink.Decode(e.Object)
	if err != nil {
		return err
	}
	switch e.Type {
	case watch.Added, watch.Modified:
		f.Sink.Set(o)
	case watch.Deleted:
		f.Sink.Gone(o)
	case watch.Bookmark, watch.Error:
	}
	f.resume = o.GetResourceVersion()
	return nil
}

func (c *Collection) query() url.Values {
	query := url.Values{}
	if c.Selector != "" {
		query.Set("fieldSelector", c.Selector)
	}
	if c.Labels != "" {
		query.Set("labelSelector", c.Labels)
	}
	return query
}

// accept gives the header in which a list or a watch says how objects may come.
func (c *Collection) accept(onlyMetadata string) string {
	media := c.Media
	if len(media) == 0 {
		media = []string{JSON}
	}
	if !c.MetadataOnly {
		return strings.Join(media, ",")
	}
	each := make([]string, len(media))
	for i, m := range media {
		each[i] = m + onlyMetadata
	}
	return strings.Join(each, ",")
}

package difftest

import (
	"fmt"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// window is what one stream of one side has received between two barriers, in the form in which
// both sides must agree. Responses of different watchers may interleave as they like, and a
// watcher that catches up may get several revisions in one response, so each watcher stands alone.
type window struct {
	control  []string           // created and cancelled, in order
	progress []string           // answers to progress requests, in order
	watchers map[watcher]*track // what each watcher got

	fragments int // responses that were not the last of their revision
}

// watcher names a watcher in a window: the same id can be created again after a cancel.
type watcher struct {
	id      int64
	created int // how often the id was created within the window so far
}

// track is what one watcher got.
type track struct {
	events  []string // one for each event
	ends    []string // cancelled by the server for compaction
	batches []string // revision of the header and number of events of each response
}

// newWindow sorts out the responses of a stream, already in normal form. An error tells how a
// response breaks a promise of the API whatever the other side says.
func newWindow(log []*pb.WatchResponse) (*window, error) {
	w := &window{watchers: make(map[watcher]*track)}
	created := make(map[int64]int)
	last := make(map[int64]*pb.WatchResponse)
	for _, r := range log {
		switch {
		case r.Created && r.Canceled, r.Canceled && r.CompactRevision == 0:
			w.control = append(w.control, text(r))
		case r.Created:
			created[r.WatchId]++
			delete(last, r.WatchId)
			w.control = append(w.control, text(r))
		case r.Canceled:
			t := w.track(watcher{r.WatchId, created[r.WatchId]})
			t.ends = append(t.ends, fmt.Sprintf("cancelled, compact_revision:%d reason:%q",
				r.CompactRevision, r.CancelReason))
		case len(r.Events) == 0:
			w.progress = append(w.progress, text(r))
		default:
			if err := checkEvents(last[r.WatchId], r); err != nil {
				return nil, err
			}
			last[r.WatchId] = r
			if r.Fragment {
				w.fragments++
			}
			w.track(watcher{r.WatchId, created[r.WatchId]}).add(r)
		}
	}
	return w, nil
}

// track returns the track of a watcher.
func (w *window) track(id watcher) *track {
	t := w.watchers[id]
	if t == nil {
		t = &track{}
		w.watchers[id] = t
	}
	return t
}

// add takes the events of a response.
func (t *track) add(r *pb.WatchResponse) {
	for _, e := range r.Events {
		t.events = append(t.events, text(e))
	}
	t.batches = append(t.batches, fmt.Sprintf("header revision %d, %d events, fragment %t",
		r.Header.GetRevision(), len(r.Events), r.Fragment))
}

// checkEvents checks one response with events against the one before it to the same watcher.
func checkEvents(before, r *pb.WatchResponse) error {
	newest := int64(0)
	if before != nil {
		newest = before.Events[len(before.Events)-1].Kv.ModRevision
		first := r.Events[0].Kv.ModRevision
		if first < newest || first == newest && !before.Fragment {
			return fmt.Errorf("watch %d: revision %d in a response after one that ends with %d",
				r.WatchId, first, newest)
		}
	}
	for _, e := range r.Events {
		if e.Kv.ModRevision < newest {
			return fmt.Errorf("watch %d: revision %d after %d", r.WatchId, e.Kv.ModRevision, newest)
		}
		newest = e.Kv.ModRevision
	}
	if rev := r.Header.GetRevision(); rev < newest {
		return fmt.Errorf("watch %d: header revision %d, but an event of %d", r.WatchId, rev,
			newest)
	}
	return nil
}

// diff describes how two windows differ, or returns "". With strict, watchers that were in step
// with the store must have got not just the same events but the same responses.
func (w *window) diff(other *window, strict bool) string {
	if d := diffLines("control responses", w.control, other.control); d != "" {
		return d
	}
	for id := range other.watchers {
		w.track(id)
	}
	for id, t := range w.watchers {
		o := other.track(id)
		name := fmt.Sprintf("watch %d", id.id)
		if d := diffLines("events of "+name, t.events, o.events); d != "" {
			return d
		}
		if d := diffLines("end of "+name, t.ends, o.ends); d != "" {
			return d
		}
		// Those that were there before the window were in step by then.
		if strict && id.created == 0 {
			if d := diffLines("responses of "+name, t.batches, o.batches); d != "" {
				return d
			}
		}
	}
	return diffLines("progress responses", w.progress, other.progress)
}

// diffLines describes the first difference of two lists, or returns "".
func diffLines(what string, a, b []string) string {
	if slices.Equal(a, b) {
		return ""
	}
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	show := func(list []string) string {
		return strings.Join(list[min(i, len(list)):min(i+3, len(list))], "\n     ")
	}
	return fmt.Sprintf("%s differ at number %d (A has %d, B has %d)\n  A: %s\n  B: %s", what, i,
		len(a), len(b), show(a), show(b))
}

// text returns a message as one line that is the same for equal messages.
func text(m proto.Message) string {
	return strings.Join(strings.Fields(fmt.Sprint(m)), " ")
}

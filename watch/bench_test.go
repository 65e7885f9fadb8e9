package watch

import (
	"fmt"
	"testing"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/mvcc"
	"github.com/cairnkv/cairn/wire"
)

// bench is a source for Publish alone.
type bench struct {
	*model
	rev int64
}

func (b *bench) Rev() int64 { return b.rev }

func (b *bench) PrevKV(ev *mvcc.Event) ([]byte, bool, error) { return ev.KV, true, nil }

// event is a put of 256 bytes on key.
func (b *bench) event(key string) mvcc.Event {
	b.rev++
	kv := cairn.KeyValue{
		Key: []byte(key), Value: make([]byte, 256),
		CreateRevision: 2, ModRevision: b.rev, Version: 7,
	}
	return mvcc.Event{
		Rev: cairn.Revision{Main: b.rev}, Key: kv.Key, KV: wire.AppendKeyValue(nil, &kv),
	}
}

// benchStreams opens streams with one watcher each.
func benchStreams(b *testing.B, watchers int, request func(i int) CreateRequest) (
	*bench, *Hub, []*Stream,
) {
	src := &bench{model: newModel(), rev: 1}
	h := NewHub(src, clock.Real(), Options{})
	streams := make([]*Stream, watchers)
	for i := range streams {
		streams[i] = h.Open(func() cairn.Header { return testHeader }, func() {})
		streams[i].Create(request(i))
	}
	drain(streams)
	b.ReportAllocs()
	return src, h, streams
}

func drain(streams []*Stream) {
	var buf []byte
	var ends []int
	for _, s := range streams {
		for more := true; more; {
			buf, ends, more = s.Take(buf[:0], ends[:0], 64<<10)
		}
	}
}

// publish runs b.N Publishes of batch events each. Streams are drained, untimed if taken is
// false, every few Publishes, so that none falls behind.
func publish(b *testing.B, watchers, perEvent, batch int, taken bool,
	request func(i int) CreateRequest, key func(i int) string,
) {
	src, h, streams := benchStreams(b, watchers, request)
	events := make([]mvcc.Event, batch)
	for i := range events {
		events[i] = src.event(key(i))
	}
	every := max(1, 100/batch)
	b.ResetTimer()
	for i := range b.N {
		for j := range events {
			src.rev++
			events[j].Rev.Main = src.rev
		}
		h.Publish(src.rev, events)
		if i%every == every-1 {
			if !taken {
				b.StopTimer()
			}
			drain(streams)
			if !taken {
				b.StartTimer()
			}
		}
	}
	n := float64(b.N) * float64(batch) * float64(perEvent)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/n, "ns/event/watcher")
}

func BenchmarkPublish(b *testing.B) {
	one := func(int) CreateRequest { return CreateRequest{Key: []byte("/registry/k")} }
	prev := func(int) CreateRequest {
		return CreateRequest{Key: []byte("/registry/"), End: []byte("/registry0"), PrevKV: true}
	}
	same := func(int) string { return "/registry/k" }
	own := func(i int) CreateRequest {
		p := fmt.Sprintf("/registry/kind/namespace-%05d/", i)
		return CreateRequest{Key: []byte(p), End: []byte(p[:len(p)-1] + "0")}
	}
	ownKey := func(i int) CreateRequest {
		return CreateRequest{Key: fmt.Appendf(nil, "/registry/kind/namespace-%05d/k", i)}
	}
	spread := func(i int) string {
		return fmt.Sprintf("/registry/kind/namespace-%05d/k", i*7919%10000)
	}
	for _, n := range []int{1, 1000, 10000} {
		b.Run(fmt.Sprintf("key/watchers=%d", n), func(b *testing.B) {
			publish(b, n, n, 1, false, one, same)
		})
	}
	b.Run("key/watchers=1000/taken", func(b *testing.B) {
		publish(b, 1000, 1000, 1, true, one, same)
	})
	b.Run("key/watchers=1000/batch=50", func(b *testing.B) {
		publish(b, 1000, 1000, 50, false, one, same)
	})
	b.Run("prefix/prevkv/watchers=3/batch=50", func(b *testing.B) {
		publish(b, 3, 3, 50, false, prev, same)
	})
	b.Run("prefixes=10000/batch=50", func(b *testing.B) {
		publish(b, 10000, 1, 50, false, own, spread)
	})
	b.Run("keys=10000/batch=50", func(b *testing.B) {
		publish(b, 10000, 1, 50, false, ownKey, spread)
	})
	b.Run("nobody/batch=50", func(b *testing.B) {
		publish(b, 0, 1, 50, false, nil, same)
	})
}

// BenchmarkStep brings watchers from the first of 20,000 revisions up to date, their streams being
// taken in between.
func BenchmarkStep(b *testing.B) {
	const revs = 20000
	m := newModel()
	value := string(make([]byte, 256))
	for i := range revs {
		m.commit(write{key: fmt.Sprintf("/registry/k%03d", i%1000), value: value})
	}
	for _, watchers := range []int{1, 1000} {
		b.Run(fmt.Sprintf("watchers=%d", watchers), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				b.StopTimer()
				h := NewHub(m, clock.Real(), Options{})
				streams := make([]*Stream, watchers)
				for i := range streams {
					streams[i] = h.Open(func() cairn.Header { return testHeader }, func() {})
					streams[i].Create(CreateRequest{
						Key: []byte("/registry/"), End: []byte("/registry0"), StartRevision: 1,
					})
				}
				b.StartTimer()
				for h.Stats().Slow > 0 {
					h.Step()
					drain(streams)
				}
			}
			n := float64(b.N) * revs * float64(watchers)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/n, "ns/event/watcher")
		})
	}
}

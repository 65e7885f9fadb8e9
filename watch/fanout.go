package watch

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cairnkv/cairn/internal/mutate"
	"github.com/cairnkv/cairn/mvcc"
	"github.com/cairnkv/cairn/wire"
)

// body is what a WatchResponse has after its header and watch id: the events of one revision, or
// the fields of a control response. Bodies are shared by streams and do not change once they are
// queued.
type body struct {
	data   []byte
	rev    int64 // revision of the events
	header int64 // the header's revision
	events int
}

// fanout turns events into the bodies of groups. It is scratch space: begin, event for each
// event, then the caller hands out the bodies of the touched groups, then end.
type fanout struct {
	index   *index
	epoch   uint64   // groups of other epochs do not take part
	touched []*group // groups that have bodies
	hits    []*bucket
	arena   []byte // room for small encoded events
}

// event adds ev to the bodies of the groups that want it. header is the revision of the
// responses' headers. ev and what src returns are copied.
func (f *fanout) event(src Source, ev *mvcc.Event, header int64) {
	f.hits = f.index.find(ev.Key, f.hits[:0])
	var plain, full *body
	for _, b := range f.hits {
		for _, g := range b.groups {
			if ev.Delete && g.noDelete || !ev.Delete && g.noPut ||
				g.epoch != f.epoch || ev.Rev.Main < g.from || g.err != nil {
				continue
			}
			if len(g.bodies) == 0 {
				f.touched = append(f.touched, g)
			}
			if g.prevKV && !ev.Create &&
				!(mutate.On(mutate.ForgetPrevKV) && ev.Rev.Main%32 == 0) {
				if full == nil {
					prev, ok, err := src.PrevKV(ev)
					if err != nil {
						g.fail(err)
						continue
					}
					if !ok {
						prev = nil
					}
					full = f.encode(ev, prev, header)
				}
				g.push(full)
				continue
			}
			if plain == nil {
				plain = f.encode(ev, nil, header)
			}
			g.push(plain)
		}
	}
}

// end forgets the bodies, so that only the streams hold them.
func (f *fanout) end() {
	for _, g := range f.touched {
		clear(g.bodies)
		g.bodies = g.bodies[:0]
		if cap(g.bodies) > keepBodies {
			g.bodies = nil
		}
		g.err = nil
	}
	clear(f.touched)
	f.touched = f.touched[:0]
}

// encode makes the body of one event.
func (f *fanout) encode(ev *mvcc.Event, prev []byte, header int64) *body {
	size := wire.SizeKV(wire.EventKV, len(ev.KV))
	if ev.Delete {
		size += wire.SizeVarint(wire.EventType, wire.EventTypeDelete)
	}
	if prev != nil {
		size += wire.SizeKV(wire.EventPrevKV, len(prev))
	}
	dst := f.alloc(wire.SizeKV(wire.WatchEvents, size))
	dst = protowire.AppendTag(dst, wire.WatchEvents, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(size))
	if ev.Delete {
		dst = wire.AppendVarint(dst, wire.EventType, wire.EventTypeDelete)
	}
	dst = wire.AppendKV(dst, wire.EventKV, ev.KV)
	if prev != nil {
		dst = wire.AppendKV(dst, wire.EventPrevKV, prev)
	}
	return &body{data: dst, rev: ev.Rev.Main, header: header, events: 1}
}

// alloc returns an empty slice with room for exactly n bytes.
func (f *fanout) alloc(n int) []byte {
	if n >= arenaSmall {
		return make([]byte, 0, n)
	}
	if len(f.arena) < n {
		f.arena = make([]byte, arenaChunk)
	}
	b := f.arena[:0:n]
	f.arena = f.arena[n:]
	return b
}

// push adds the body of one event, to the last body if that is of the same revision.
func (g *group) push(b *body) {
	n := len(g.bodies)
	if n == 0 || g.bodies[n-1].rev != b.rev {
		g.bodies = append(g.bodies, b)
		g.owned = false
		return
	}
	last := g.bodies[n-1]
	if !g.owned {
		joined := *last
		joined.data = make([]byte, 0, 2*(len(last.data)+len(b.data)))
		joined.data = append(joined.data, last.data...)
		last, g.bodies[n-1], g.owned = &joined, &joined, true
	}
	last.data = append(last.data, b.data...)
	last.events += b.events
}

// fail says that the group's bodies cannot be made; members get none and are ended.
func (g *group) fail(err error) { g.err = err }

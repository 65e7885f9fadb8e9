package watch

import (
	"sync/atomic"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/internal/mutate"
	"github.com/cairnkv/cairn/wire"
)

// latch is a bool that two goroutines share.
type latch struct{ v atomic.Bool }

// set is cheap if it is set already.
func (f *latch) set() {
	if !f.v.Load() {
		f.v.Store(true)
	}
}

// clear opens the latch and says whether it was set.
func (f *latch) clear() bool { return f.v.Load() && f.v.Swap(false) }

// taking is the taker's side of a stream's queue; only Take touches it.
type taking struct {
	items  []item // swapped with Stream.in
	used   int    // items that the last swap with any brought
	next   int    // first of items that is not returned
	offset int    // of the first event of items[next] that is not returned, in fragments
	bytes  int    // cost of the items returned and not yet repaid
	events int    // events of these items
}

// Take appends to buf the next responses, encoded as etcdserverpb.WatchResponse, one after the
// other, and to ends where each of them ends, until they have maxBytes bytes or there are no more.
// A first response larger than maxBytes is returned alone. Once woken, the owner calls Take until
// more is false; only then wake is called again. Take never blocks. After Close it may still return
// what it had begun with.
func (s *Stream) Take(buf []byte, ends []int, maxBytes int) (_ []byte, _ []int, more bool) {
	t := &s.out
	if !s.refill() {
		return buf, ends, false
	}
	header := s.header()
	from := len(buf)
	for more = true; more; more = t.next < len(t.items) || s.refill() {
		if taken := len(buf) - from; taken > 0 && taken+s.nextSize() > maxBytes {
			break
		}
		buf = s.appendNext(buf, &header, maxBytes-(len(buf)-from))
		ends = append(ends, len(buf))
	}
	if t.bytes > 0 {
		s.settle()
	}
	return buf, ends, more
}

// refill makes sure that there is an item to return, or says that there is none.
func (s *Stream) refill() bool {
	t := &s.out
	if t.next < len(t.items) {
		return true
	}
	spare := t.items
	clear(spare)
	s.mu.Lock()
	woken := s.repay()
	if len(s.in) == 0 {
		t.items, s.in = trim(spare, t.used), trim(s.in, t.used)
		s.signaled = false
	} else {
		t.items, s.in = s.in, spare[:0]
		t.used = len(t.items)
	}
	s.mu.Unlock()
	t.next = 0
	s.hub.readmit(woken)
	return len(t.items) > 0
}

// trim empties a queue, and lets go of its memory if that is much more than what was used of it
// last, or too much for a stream that may be idle now.
func trim(items []item, used int) []item {
	if c := cap(items); c > keepItems || c > minItems && c > 4*used {
		return nil
	}
	return items[:0]
}

// settle gives back the room of what was returned.
func (s *Stream) settle() {
	s.mu.Lock()
	woken := s.repay()
	s.mu.Unlock()
	s.hub.readmit(woken)
}

// repay gives back the room of what was returned and yields the watchers that waited for it. The
// caller holds s.mu.
func (s *Stream) repay() (woken []*watcher) {
	t := &s.out
	if t.bytes == 0 {
		return nil
	}
	stats := &s.hub.stats
	stats.events.Add(uint64(t.events))
	if !s.closed {
		stats.pending.Add(-int64(t.events))
		s.events -= t.events
		s.bytes -= t.bytes
		if len(s.parked) > 0 && s.bytes <= s.room && !mutate.On(mutate.ParkedForever) {
			woken, s.parked = s.parked, nil
		}
	}
	t.bytes, t.events = 0, 0
	return woken
}

// nextSize is at least the size of the next response.
func (s *Stream) nextSize() int {
	it := s.out.items[s.out.next]
	rest := it.b.data[s.out.offset:]
	n := len(rest)
	if it.w != nil && it.w.fragment {
		n = min(n, max(firstEvent(rest), s.hub.opts.ResponseBytes))
	}
	return itemBytes + n
}

// firstEvent is the size of the first event field of a body; all fields of a body are events.
func firstEvent(data []byte) int {
	const tag = 1 // size of the tag of field 11
	return tag + protowire.ConsumeFieldValue(wire.WatchEvents, protowire.BytesType, data[tag:])
}

// appendNext appends the next response. Bodies of one watcher that follow each other become one
// response, with the last one's header, while that is small and fits in room bytes. The store may
// be ahead of the hub, and was when the watcher was told a revision that the header does not reach.
func (s *Stream) appendNext(dst []byte, header *cairn.Header, room int) []byte {
	t := &s.out
	it := t.items[t.next]
	if it.w == nil {
		header.Revision = it.b.header
		dst = wire.AppendHeader(dst, header)
		s.returned(it)
		return append(dst, it.b.data...)
	}
	if it.w.progress {
		it.w.sent.set()
	}
	last, size := t.next, len(it.b.data)
	limit := min(mergeBytes, s.hub.opts.ResponseBytes-itemBytes, room-itemBytes)
	for t.offset == 0 && last+1 < len(t.items) && t.items[last+1].w == it.w {
		size += len(t.items[last+1].b.data)
		if size >= limit {
			break
		}
		last++
	}
	header.Revision = max(t.items[last].b.header, it.w.told)
	if last == t.next && it.w.fragment {
		if dst, ok := s.appendFragment(dst, it, header); ok {
			return dst
		}
	}
	dst = wire.AppendHeader(dst, header)
	dst = wire.AppendVarint(dst, wire.WatchID, uint64(it.w.id))
	for t.next <= last {
		dst = append(dst, t.items[t.next].b.data...)
		s.returned(t.items[t.next])
	}
	return dst
}

// returned counts an item as returned.
func (s *Stream) returned(it item) {
	s.out.next++
	s.out.bytes += it.cost()
	s.out.events += it.b.events
}

// appendFragment appends one piece of a response that is too large to be sent whole, by etcd's
// rule (v3rpc/watch.go, sendFragments): a response below the limit, or of one event, goes whole;
// a piece takes events while it is below the limit, and at least one. It says false if the
// response goes whole.
func (s *Stream) appendFragment(dst []byte, it item, header *cairn.Header) ([]byte, bool) {
	t := &s.out
	limit := s.hub.opts.ResponseBytes
	size := wire.SizeHeader(header) + wire.SizeVarint(wire.WatchID, uint64(it.w.id))
	if t.offset == 0 && (size+len(it.b.data) < limit || it.b.events < 2) {
		return dst, false
	}
	size += wire.SizeVarint(wire.WatchFragment, 1)
	rest := it.b.data[t.offset:]
	n := 0
	for n < len(rest) {
		event := firstEvent(rest[n:])
		if n > 0 && size+n+event >= limit {
			break
		}
		n += event
	}
	dst = wire.AppendHeader(dst, header)
	dst = wire.AppendVarint(dst, wire.WatchID, uint64(it.w.id))
	dst = wire.AppendBool(dst, wire.WatchFragment, n < len(rest))
	piece := rest[:n]
	if mutate.On(mutate.FragmentLoses) && n < len(rest) {
		piece = piece[firstEvent(piece):]
	}
	dst = append(dst, piece...)
	t.offset += n
	if n == len(rest) {
		t.offset = 0
		s.returned(it)
	}
	return dst, true
}

// created is the response to a watcher that was created.
func created(rev, id int64) *body {
	b := wire.AppendVarint(nil, wire.WatchID, uint64(id))
	return &body{header: rev, data: wire.AppendBool(b, wire.WatchCreated, true)}
}

// refusal is the response to a watcher that was not created.
func refusal(rev int64, reason string) *body {
	b := wire.AppendVarint(nil, wire.WatchID, ^uint64(0)) // invalidID
	b = wire.AppendBool(b, wire.WatchCreated, true)
	b = wire.AppendBool(b, wire.WatchCanceled, true)
	return &body{header: rev, data: wire.AppendString(b, wire.WatchCancelReason, reason)}
}

// canceled is the response that ends a watcher.
func canceled(rev, id, compactRev int64, reason string) *body {
	b := wire.AppendVarint(nil, wire.WatchID, uint64(id))
	b = wire.AppendBool(b, wire.WatchCanceled, true)
	b = wire.AppendVarint(b, wire.WatchCompactRevision, uint64(compactRev))
	return &body{header: rev, data: wire.AppendString(b, wire.WatchCancelReason, reason)}
}

// progress is a response without events.
func progress(rev, id int64) *body {
	return &body{header: rev, data: wire.AppendVarint(nil, wire.WatchID, uint64(id))}
}

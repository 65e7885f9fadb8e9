package h2

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// TestUnary sends calls and looks at them with another implementation's eyes.
func TestUnary(t *testing.T) {
	p := newPeer(t, Config{UserAgent: "tester", TLS: true,
		Fields: []Field{{"token", "secret"}}})
	first := p.frames()
	if len(first) != 3 { // settings, window update, acknowledgement
		t.Fatalf("%v", first)
	}
	m, other := p.s.Method("/a.B/C"), p.s.Method("/a.B/D")
	blocks := map[int]bool{}
	for i := range 4 {
		method := m
		if i == 2 {
			method = other
		}
		before := len(p.s.Out)
		id := p.call(method, int32(i), strings.Repeat("x", i), true)
		blocks[len(p.s.Out)-before-i] = true
		if id != uint32(2*i+1) {
			t.Errorf("call %d is stream %d", i, id)
		}
	}
	frames := p.frames()
	if len(frames) != 8 {
		t.Fatalf("%v", frames)
	}
	for i := range 4 {
		h := frames[2*i].(*http2.MetaHeadersFrame)
		path := map[bool]string{true: "/a.B/D", false: "/a.B/C"}[i == 2]
		var got []string
		for _, f := range h.Fields {
			got = append(got, f.Name+"="+f.Value)
		}
		want := []string{":method=POST", ":scheme=https", ":path=" + path, ":authority=host:1",
			"content-type=application/grpc", "user-agent=tester", "te=trailers", "token=secret"}
		if !slices.Equal(got, want) || h.StreamEnded() {
			t.Errorf("call %d: %q", i, got)
		}
		d := frames[2*i+1].(data)
		if !bytes.Equal(d.bytes, message(strings.Repeat("x", i))) ||
			!d.Flags.Has(http2.FlagDataEndStream) {
			t.Errorf("call %d: %q, %v", i, d.bytes, d)
		}
	}
	if len(blocks) != 3 { // first of a method; indexed; first of the other
		t.Errorf("headers of %d lengths, want 3: from the second call on they are indexed",
			len(blocks))
	}
	p.must(p.s.valid())
}

// TestReplies feeds answers in pieces of every size.
func TestReplies(t *testing.T) {
	for chunk := range 40 {
		p := newPeer(t, Config{})
		p.chunk = chunk
		m := p.s.Method("/a/b")
		for i := range 3 {
			p.call(m, int32(i), "q", true)
		}
		for _, id := range []uint32{5, 1, 3} {
			p.ok(id)
			all := append(message(""), message(fmt.Sprint("answer ", id))...)
			cut := int(id) // within a prefix, within a message
			p.must(p.write.WriteDataPadded(id, false, all[:cut], make([]byte, 3)))
			p.must(p.write.WriteData(id, false, all[cut:]))
			p.trailers(id)
		}
		p.deliver()
		for owner, id := range []int{1, 3, 5} {
			got := p.h.messages[int32(owner)]
			want := []string{"", fmt.Sprint("answer ", id)}
			ends := p.h.ends[int32(owner)]
			if !slices.Equal(got, want) || len(ends) != 1 || ends[0] != (Status{}) {
				t.Errorf("pieces of %d, call %d: %q, %v", chunk, owner, got, ends)
			}
		}
		p.must(p.s.valid())
		if p.s.active != 0 {
			t.Errorf("%d calls are left", p.s.active)
		}
	}
}

// TestStatus ends calls in every way.
func TestStatus(t *testing.T) {
	p := newPeer(t, Config{Streams: 16, MaxMessage: 10})
	m := p.s.Method("/a/b")
	cases := []struct {
		name string
		do   func(id uint32)
		code uint32
		text string
	}{
		{"trailers alone", func(id uint32) {
			p.headers(id, true, ":status", "200", "grpc-status", "14", "grpc-message", "a%20b%zz")
		}, 14, "a%20b%zz"},
		{"escaped", func(id uint32) {
			p.headers(id, true, ":status", "200", "grpc-status", "5",
				"grpc-message", "gr%C3%BC%C3%9Fe")
		}, 5, "grüße"},
		{"reset", func(id uint32) {
			p.must(p.write.WriteRSTStream(id, http2.ErrCodeRefusedStream))
		}, CodeUnavailable, "stream reset by the server: REFUSED_STREAM"},
		{"calm", func(id uint32) {
			p.must(p.write.WriteRSTStream(id, http2.ErrCodeEnhanceYourCalm))
		}, CodeResourceExhausted, "stream reset by the server: ENHANCE_YOUR_CALM"},
		{"http", func(id uint32) { p.headers(id, true, ":status", "503") },
			CodeUnavailable, "HTTP status 503"},
		{"http, more to come", func(id uint32) { p.headers(id, false, ":status", "404") },
			CodeUnimplemented, "HTTP status 404"},
		{"no status", func(id uint32) {
			p.ok(id)
			p.must(p.write.WriteData(id, true, message("x")))
		}, CodeInternal, "the call ended without a gRPC status"},
		{"half a message", func(id uint32) {
			p.ok(id)
			p.must(p.write.WriteData(id, false, message("xy")[:6]))
			p.trailers(id)
		}, CodeInternal, "the call ended in the middle of a message"},
		{"too large", func(id uint32) {
			p.ok(id)
			p.must(p.write.WriteData(id, false, message("12345678901")))
		}, CodeResourceExhausted, "a message of 11 bytes, 10 are allowed"},
		{"interim headers", func(id uint32) {
			p.headers(id, false, ":status", "103")
			p.ok(id)
			p.trailers(id)
		}, 0, ""},
	}
	for i, tc := range cases {
		tc.do(p.call(m, int32(i), "q", true))
		p.deliver()
		got := p.h.ends[int32(i)]
		if len(got) != 1 || got[0] != (Status{tc.code, tc.text}) {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
	p.must(p.s.valid())
	var resets int
	for _, f := range p.frames() {
		if _, ok := f.(*http2.RSTStreamFrame); ok {
			resets++
		}
	}
	if resets != 2 { // those that the server had not ended
		t.Errorf("%d streams were reset, want 2", resets)
	}
}

// TestFlowControl gives the session little room, bit by bit.
func TestFlowControl(t *testing.T) {
	p := newPeer(t, Config{}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10})
	p.frames()
	m := p.s.Method("/a/b")
	long := strings.Repeat("0123456789", 50)
	one := p.call(m, 0, long, true)
	two := p.call(m, 1, "short", true)
	p.call(m, 2, "", true)
	p.s.Cancel(two + 2)
	got := map[uint32][]byte{}
	ended := map[uint32]bool{}
	take := func() (n int) {
		for _, f := range p.frames() {
			if d, ok := f.(data); ok {
				got[d.StreamID] = append(got[d.StreamID], d.bytes...)
				ended[d.StreamID] = d.Flags.Has(http2.FlagDataEndStream)
				n += len(d.bytes)
			}
		}
		return n
	}
	if n := take(); n != 10+10+5 || !ended[two] || ended[one] {
		t.Fatalf("%d bytes, %v", n, got)
	}
	for step := 1; !ended[one]; step++ {
		p.must(p.write.WriteWindowUpdate(one, uint32(step)))
		p.deliver()
		if n := take(); n != step && !ended[one] {
			t.Fatalf("%d bytes for %d", n, step)
		}
		p.must(p.s.valid())
	}
	if !bytes.Equal(got[one], message(long)) || !bytes.Equal(got[two], message("short")) {
		t.Errorf("%v", got)
	}
	// A larger initial window counts for streams that are open; the connection's bounds them all.
	three := p.call(m, 3, strings.Repeat("x", 100_000), true)
	take()
	p.must(p.write.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 200_000}))
	p.deliver()
	take()
	if sent := len(got[three]); sent != 65535-505-10-5 {
		t.Errorf("%d bytes were sent into a connection with less room", sent)
	}
	p.must(p.write.WriteWindowUpdate(0, 1<<20))
	p.deliver()
	take()
	if len(got[three]) != 100_005 || !ended[three] {
		t.Errorf("%d bytes of 100,005", len(got[three]))
	}
	p.must(p.s.valid())
}

// TestWindowsAreGivenBack counts what the session gives back of a long answer.
func TestWindowsAreGivenBack(t *testing.T) {
	p := newPeer(t, Config{})
	p.frames()
	id := p.call(p.s.Method("/a/b"), 0, "q", true)
	p.s.Discard(id)
	p.ok(id)
	part := make([]byte, MaxFrame)
	const frames = 34_000 // more than half of the connection's window
	size := frames*MaxFrame - prefixLen
	copy(part, message("")[:1])
	copy(part[1:], []byte{byte(size >> 24), byte(size >> 16), byte(size >> 8), byte(size)})
	given, inAll := 0, 0
	for range frames {
		p.must(p.write.WriteData(id, false, part))
		p.deliver()
		for _, f := range p.frames() {
			switch w, ok := f.(*http2.WindowUpdateFrame); {
			case ok && w.StreamID == id:
				given += int(w.Increment)
			case ok:
				inAll += int(w.Increment)
			}
		}
	}
	if most := frames * MaxFrame; given > most || most-given >= StreamWindow/2 ||
		inAll > most || most-inAll >= ConnWindow/2 {
		t.Errorf("%d and %d bytes given back of %d", given, inAll, most)
	}
	if got := p.h.sizes[0]; len(got) != 1 || got[0] != size || len(p.h.messages[0][0]) != 0 {
		t.Errorf("messages of %v bytes", got)
	}
}

// TestStreams sends and receives on a call with many messages.
func TestStreams(t *testing.T) {
	p := newPeer(t, Config{Streams: 1})
	id := p.call(p.s.Method("/a/b"), 7, "one", false)
	if p.s.CanOpen() {
		t.Error("there is room for a second call")
	}
	p.s.Send(id, []byte("two"), false)
	p.ok(id)
	p.must(p.write.WriteData(id, false, slices.Concat(message("a"), message("b"))))
	p.deliver()
	p.h.message = func(owner int32, msg []byte) error {
		p.s.Cancel(id)
		return nil
	}
	p.must(p.write.WriteData(id, false, slices.Concat(message("c"), message("d"))))
	p.must(p.write.WriteData(id, false, message("e")))
	p.trailers(id)
	p.deliver()
	if got := p.h.messages[7]; !slices.Equal(got, []string{"a", "b", "c"}) || len(p.h.ends[7]) > 0 {
		t.Errorf("%q, %v", got, p.h.ends)
	}
	if !p.s.CanOpen() {
		t.Error("a canceled call takes room")
	}
	p.must(p.s.valid())
}

// TestSlots keeps one call open while many others come and go: ids whose slot is taken are left
// out.
func TestSlots(t *testing.T) {
	p := newPeer(t, Config{Streams: 2})
	m := p.s.Method("/a/b")
	p.call(m, 0, "", true)
	for range 100 {
		id := p.call(m, 1, "", true)
		p.headers(id, true, ":status", "200", "grpc-status", "0")
		p.deliver()
		p.must(p.s.valid())
	}
	if n := len(p.h.ends[1]); n != 100 || p.s.active != 1 {
		t.Errorf("%d ends, %d open", n, p.s.active)
	}
	p.s.next = maxStreamID + 2
	if _, err := p.s.Open(m, 0, nil, true); !errors.Is(err, ErrExhausted) {
		t.Errorf("%v", err)
	}
}

// TestTableSizes changes the size of the peer's table: what is sent must stay readable.
func TestTableSizes(t *testing.T) {
	p := newPeer(t, Config{Streams: 100})
	m, other := p.s.Method("/a/b"), p.s.Method("/c/d")
	for i, size := range []uint32{4096, 100, 0, 0, 200, 4096} {
		p.must(p.write.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: size}))
		p.deliver()
		for range 3 {
			p.call(m, int32(i), "", true)
			p.call(other, int32(i), "", true)
		}
		var paths []string
		for _, f := range p.frames() {
			if h, ok := f.(*http2.MetaHeadersFrame); ok {
				paths = append(paths, h.PseudoValue("path"))
			}
		}
		want := []string{"/a/b", "/c/d", "/a/b", "/c/d", "/a/b", "/c/d"}
		if !slices.Equal(paths, want) {
			t.Errorf("table of %d bytes: %q", size, paths)
		}
	}
}

// TestPing wants an echo; TestPing also sees that settings are acknowledged.
func TestPing(t *testing.T) {
	p := newPeer(t, Config{})
	p.must(p.write.WritePing(false, [8]byte{1, 2, 3}))
	p.must(p.write.WritePing(true, [8]byte{4}))
	p.deliver()
	var pings, acks int
	for _, f := range p.frames() {
		switch f := f.(type) {
		case *http2.PingFrame:
			if !f.IsAck() || f.Data != [8]byte{1, 2, 3} {
				t.Errorf("%v", f)
			}
			pings++
		case *http2.SettingsFrame:
			if f.IsAck() {
				acks++
			}
		}
	}
	if pings != 1 || acks != 1 {
		t.Errorf("%d pings, %d acknowledgements", pings, acks)
	}
}

// TestLimits asks the session for what the peer allows.
func TestLimits(t *testing.T) {
	p := newPeer(t, Config{Streams: 3},
		http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1})
	if !p.s.CanOpen() || !p.s.Ready() {
		t.Error("not one call may be open")
	}
	p.call(p.s.Method("/a/b"), 0, "", true)
	if p.s.CanOpen() {
		t.Error("a second call may be open, against the peer's settings")
	}
}

package h2

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// frame is one frame as it is sent.
type frame struct {
	kind  http2.FrameType
	flags http2.Flags
	id    uint32
	body  string
}

const (
	endHeaders = http2.FlagHeadersEndHeaders
	priority   = http2.FlagHeadersPriority | endHeaders
)

// hostile are frames that break the protocol, while stream 1 is open and nothing has come on it.
var hostile = map[string]frame{
	"data on stream 0":          {http2.FrameData, 0, 0, "x"},
	"data on an idle stream":    {http2.FrameData, 0, 99, "x"},
	"data on an even stream":    {http2.FrameData, 0, 2, "x"},
	"data before headers":       {http2.FrameData, 0, 1, "x"},
	"padding":                   {http2.FrameData, http2.FlagDataPadded, 1, "\x05abc"},
	"padding of nothing":        {http2.FrameHeaders, http2.FlagHeadersPadded | endHeaders, 1, ""},
	"priority cut short":        {http2.FrameHeaders, priority, 1, "abc"},
	"bad index":                 {http2.FrameHeaders, endHeaders, 1, "\xff\xff\xff\xff\x0f"},
	"headers cut short":         {http2.FrameHeaders, endHeaders, 1, "\x40\x05ab"},
	"continuation of nothing":   {http2.FrameContinuation, 0, 1, ""},
	"large frame":               {http2.FrameData, 0, 1, strings.Repeat("x", MaxFrame+1)},
	"push":                      {http2.FramePushPromise, 0, 1, "\x00\x00\x00\x02"},
	"reset of an idle stream":   {http2.FrameRSTStream, 0, 9, "\x00\x00\x00\x00"},
	"reset of three bytes":      {http2.FrameRSTStream, 0, 1, "\x00\x00\x00"},
	"settings of a stream":      {http2.FrameSettings, 0, 1, ""},
	"settings of five bytes":    {http2.FrameSettings, 0, 0, "12345"},
	"acknowledgement with more": {http2.FrameSettings, http2.FlagSettingsAck, 0, "123456"},
	"window too large":          {http2.FrameSettings, 0, 0, "\x00\x04\x80\x00\x00\x00"},
	"frame size too small":      {http2.FrameSettings, 0, 0, "\x00\x05\x00\x00\x00\x01"},
	"ping of seven bytes":       {http2.FramePing, 0, 0, "1234567"},
	"goaway of seven bytes":     {http2.FrameGoAway, 0, 0, "1234567"},
	"update by 0":               {http2.FrameWindowUpdate, 0, 0, "\x00\x00\x00\x00"},
	"update beyond the bound":   {http2.FrameWindowUpdate, 0, 1, "\x7f\xff\xff\xff"},
	"update of two bytes":       {http2.FrameWindowUpdate, 0, 0, "\x00\x01"},
	"update of idle stream":     {http2.FrameWindowUpdate, 0, 77, "\x00\x00\x00\x01"},
}

func (p *peer) raw(f frame) { p.must(p.write.WriteRawFrame(f.kind, f.flags, f.id, []byte(f.body))) }

// TestHostile breaks the protocol in many ways; each must be told and none may be survived.
func TestHostile(t *testing.T) {
	cases := map[string]func(p *peer){
		"status that is no number": func(p *peer) { p.headers(1, false, ":status", "ok") },
		"grpc-status": func(p *peer) {
			p.headers(1, true, ":status", "200", "grpc-status", "-1")
		},
		"long string": func(p *peer) {
			p.headers(1, false, "a", strings.Repeat("0", maxHeaderString+1))
		},
		"interrupted headers": func(p *peer) {
			p.raw(frame{http2.FrameHeaders, 0, 1, ""})
			p.raw(frame{http2.FramePing, 0, 0, "12345678"})
		},
		"continuation of another stream": func(p *peer) {
			p.raw(frame{http2.FrameHeaders, 0, 1, ""})
			p.raw(frame{http2.FrameContinuation, 0, 3, ""})
		},
		"headers without end": func(p *peer) {
			p.raw(frame{http2.FrameHeaders, 0, 1, ""})
			for range 5 {
				p.raw(frame{http2.FrameContinuation, 0, 1, strings.Repeat("\x88", MaxFrame)})
			}
		},
		"headers twice": func(p *peer) { p.ok(1); p.ok(1) },
		"compressed": func(p *peer) {
			p.ok(1)
			p.raw(frame{http2.FrameData, 0, 1, "\x01\x00\x00\x00\x01x"})
		},
	}
	for name, f := range hostile {
		cases[name] = func(p *peer) { p.raw(f) }
	}
	for name, do := range cases {
		p := newPeer(t, Config{})
		p.call(p.s.Method("/a/b"), 0, "q", true)
		do(p)
		if err := p.feed(); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
	p := newSilentPeer(t, Config{})
	p.must(p.write.WritePing(false, [8]byte{}))
	if err := p.feed(); !errors.Is(err, ErrProtocol) {
		t.Errorf("before the settings: %v", err)
	}
}

func TestGoAway(t *testing.T) {
	p := newPeer(t, Config{})
	p.must(p.write.WriteGoAway(5, http2.ErrCodeEnhanceYourCalm, []byte("too_many_pings")))
	var away *GoAway
	err := p.feed()
	if !errors.As(err, &away) || away.Last != 5 ||
		err.Error() != `the server closes the connection: ENHANCE_YOUR_CALM ("too_many_pings")` {
		t.Errorf("%v", err)
	}
}

// TestDecoder holds the decoder, which keeps blocks that it has seen, against one that does not:
// random sequences of blocks of all kinds must mean the same.
func TestDecoder(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	for round := range 200 {
		p := newSilentPeer(t, Config{})
		ours := newDecoder()
		var want fields
		var bad error
		plain := hpack.NewDecoder(tableSize, func(f hpack.HeaderField) {
			d := &decoder{out: want}
			d.field(f)
			want = d.out
			if d.bad != nil {
				bad = d.bad
			}
		})
		var blocks [][]byte
		for range 30 {
			var block []byte
			if len(blocks) > 0 && rng.IntN(3) == 0 {
				// As sent before; it may mean something else by now, or nothing.
				block = blocks[rng.IntN(len(blocks))]
			} else {
				block = randomBlock(p, rng)
				blocks = append(blocks, block)
			}
			want = fields{grpc: -1}
			_, err := plain.Write(block)
			if err == nil {
				err = errors.Join(plain.Close(), bad)
			}
			got, oerr := ours.decode(block)
			if (err == nil) != (oerr == nil) {
				t.Fatalf("seed %d, round %d: %v, want %v", seed, round, oerr, err)
			}
			if err != nil {
				break // a connection ends here
			}
			if got != want {
				t.Fatalf("seed %d, round %d: %q is %v, want %v", seed, round, block, got, want)
			}
		}
	}
}

// randomBlock makes a block of fields that are added to the table, kept out of it, or found in it.
func randomBlock(p *peer, rng *rand.Rand) []byte {
	p.block.Reset()
	if rng.IntN(10) == 0 {
		p.enc.SetMaxDynamicTableSize(uint32(rng.IntN(3) * 100))
	}
	for range 1 + rng.IntN(3) {
		f := []hpack.HeaderField{
			{Name: ":status", Value: "200"}, {Name: ":status", Value: "207"},
			{Name: "grpc-status", Value: "0"}, {Name: "grpc-status", Value: "13"},
			{Name: "grpc-message", Value: "x"},
			{Name: "grpc-message", Value: strings.Repeat("y", 60)},
		}[rng.IntN(6)]
		f.Sensitive = rng.IntN(3) == 0
		p.must(p.enc.WriteField(f))
	}
	return append([]byte(nil), p.block.Bytes()...)
}

// FuzzReceive feeds bytes to a session with calls of all kinds, in two pieces. It must neither fail
// nor lose count, whatever they are.
func FuzzReceive(f *testing.F) {
	p := newPeer(&testing.T{}, Config{Streams: 8})
	p.ok(1)
	p.must(p.write.WriteData(1, false, message("answer")))
	p.trailers(1)
	p.must(p.write.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 5}))
	p.must(p.write.WriteWindowUpdate(5, 7))
	p.must(p.write.WriteRSTStream(3, http2.ErrCodeCancel))
	p.must(p.write.WriteGoAway(1, http2.ErrCodeNo, nil))
	f.Add(p.out.Bytes(), 20)
	f.Add([]byte("\x00\x00\x05\x00\x01\x00\x00\x00\x01abcde"), 3)
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		p := newPeer(t, Config{Streams: 8, MaxMessage: 1 << 20})
		p.s.Out = p.s.Out[:0]
		m := p.s.Method("/a/b")
		for i := range 3 {
			p.call(m, int32(i), "question", i != 1)
		}
		p.h.end = func(owner int32) {
			if len(p.h.ends[owner]) < 4 && p.s.CanOpen() {
				p.call(m, owner, "again", true)
			}
		}
		open := len(p.s.Out)
		cut = max(0, min(cut, len(in)))
		n, err := p.s.Receive(in[:cut])
		if err == nil {
			var m int
			if m, err = p.s.Receive(in[n:]); n+m > len(in) {
				t.Fatalf("%d of %d bytes are done", n+m, len(in))
			}
		}
		if verr := p.s.valid(); verr != nil && err == nil {
			t.Fatal(verr)
		}
		// Whatever comes in, little goes out: an answer to each frame at most, and the calls.
		if most := open + 64*(len(in)/headerLen+16); len(p.s.Out) > most {
			t.Fatalf("%d bytes in, %d out", len(in), len(p.s.Out))
		}
	})
}

// BenchmarkCall is what a call costs here: header, message, answer, trailers.
func BenchmarkCall(b *testing.B) {
	p := newPeer(&testing.T{}, Config{Streams: 64})
	m := p.s.Method("/etcdserverpb.KV/Put")
	msg := make([]byte, 300)
	id := p.call(m, 0, string(msg), true)
	p.ok(id)
	p.must(p.write.WriteData(id, false, message("answer of a server, a header")))
	p.trailers(id)
	p.deliver()
	p.h.messages = map[int32][]string{}
	// From now on the same bytes with other ids: nothing is added to the table.
	p.ok(1)
	p.must(p.write.WriteData(1, false, message("answer of a server, a header")))
	p.trailers(1)
	answer := append([]byte(nil), p.out.Bytes()...)
	p.s.handler = quiet{}
	b.ReportAllocs()
	for b.Loop() {
		p.s.Out = p.s.Out[:0]
		id, err := p.s.Open(m, 0, msg, true)
		if err != nil {
			b.Fatal(err)
		}
		setStream(answer, id)
		if _, err := p.s.Receive(answer); err != nil {
			b.Fatal(err)
		}
	}
}

// setStream puts a stream's id into all frames of b.
func setStream(b []byte, id uint32) {
	for len(b) > 0 {
		n := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
		b[5], b[6], b[7], b[8] = byte(id>>24), byte(id>>16), byte(id>>8), byte(id)
		b = b[headerLen+n:]
	}
}

// quiet is a handler that does nothing.
type quiet struct{}

func (quiet) Message(int32, []byte, int) error { return nil }
func (quiet) End(int32, Status) error          { return nil }

package h2

import (
	"bytes"
	"fmt"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// peer is the server's side of a test, on golang.org/x/net/http2's framer: what it reads of a
// session was written by our code and is checked by theirs, and the other way round.
type peer struct {
	t       *testing.T
	s       *Session
	h       *recorder
	read    *http2.Framer
	in      bytes.Buffer // from the session
	out     bytes.Buffer // to the session
	write   *http2.Framer
	enc     *hpack.Encoder
	block   bytes.Buffer
	chunk   int // how many bytes the session gets at once; 0: all
	rest    []byte
	settled bool
}

// recorder is a handler that keeps what it is told.
type recorder struct {
	messages map[int32][]string
	sizes    map[int32][]int
	ends     map[int32][]Status
	message  func(owner int32, msg []byte) error
	end      func(owner int32)
}

func (r *recorder) Message(owner int32, msg []byte, size int) error {
	r.messages[owner] = append(r.messages[owner], string(msg))
	r.sizes[owner] = append(r.sizes[owner], size)
	if r.message != nil {
		return r.message(owner, msg)
	}
	return nil
}

func (r *recorder) End(owner int32, status Status) error {
	r.ends[owner] = append(r.ends[owner], status)
	if r.end != nil {
		r.end(owner)
	}
	return nil
}

func newRecorder() *recorder {
	return &recorder{messages: map[int32][]string{}, sizes: map[int32][]int{},
		ends: map[int32][]Status{}}
}

// newPeer returns a peer that has read the session's preface and sent its settings.
func newPeer(t *testing.T, cfg Config, settings ...http2.Setting) *peer {
	p := newSilentPeer(t, cfg)
	p.must(p.write.WriteSettings(settings...))
	p.deliver()
	return p
}

// newSilentPeer returns a peer that has not sent its settings.
func newSilentPeer(t *testing.T, cfg Config) *peer {
	t.Helper()
	if cfg.Streams == 0 {
		cfg.Streams = 4
	}
	if cfg.Authority == "" {
		cfg.Authority = "host:1"
	}
	p := &peer{t: t, h: newRecorder()}
	p.s = New(p.h, cfg)
	p.read = http2.NewFramer(nil, &p.in)
	p.read.ReadMetaHeaders = hpack.NewDecoder(tableSize, nil)
	p.write = http2.NewFramer(&p.out, nil)
	p.write.AllowIllegalWrites = true
	p.enc = hpack.NewEncoder(&p.block)
	if !bytes.HasPrefix(p.s.Out, []byte(http2.ClientPreface)) {
		t.Fatalf("no preface: %q", p.s.Out)
	}
	p.s.Out = p.s.Out[len(http2.ClientPreface):]
	return p
}

func (p *peer) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// feed gives the session what the peer has written.
func (p *peer) feed() error {
	data := append(p.rest, p.out.Bytes()...)
	p.out.Reset()
	step := p.chunk
	if step == 0 {
		step = len(data)
	}
	var held []byte
	for len(data) > 0 {
		n := min(step, len(data))
		held = append(held, data[:n]...)
		data = data[n:]
		done, err := p.s.Receive(held)
		if err != nil {
			return err
		}
		held = held[done:]
	}
	p.rest = held
	return nil
}

func (p *peer) deliver() {
	p.t.Helper()
	p.must(p.feed())
}

// frames reads all that the session has sent.
func (p *peer) frames() []any {
	p.t.Helper()
	p.in.Write(p.s.Out)
	p.s.Out = p.s.Out[:0]
	var out []any // frames of http2, and data
	for p.in.Len() > 0 {
		f, err := p.read.ReadFrame()
		p.must(err)
		if d, ok := f.(*http2.DataFrame); ok { // its bytes are valid until the next one
			out = append(out, data{d.FrameHeader, bytes.Clone(d.Data())})
			continue
		}
		out = append(out, f)
	}
	return out
}

// data is a DATA frame whose bytes stay.
type data struct {
	http2.FrameHeader
	bytes []byte
}

// headers sends a header block of name, value, name, value ...
func (p *peer) headers(id uint32, end bool, pairs ...string) {
	p.t.Helper()
	p.must(p.write.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndStream: end,
		EndHeaders: true, BlockFragment: p.encode(pairs...)}))
}

func (p *peer) encode(pairs ...string) []byte {
	p.block.Reset()
	for i := 0; i < len(pairs); i += 2 {
		p.must(p.enc.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]}))
	}
	return bytes.Clone(p.block.Bytes())
}

func (p *peer) ok(id uint32) {
	p.t.Helper()
	p.headers(id, false, ":status", "200", "content-type", "application/grpc")
}

func (p *peer) trailers(id uint32) {
	p.t.Helper()
	p.headers(id, true, "grpc-status", "0", "grpc-message", "")
}

// message puts the gRPC prefix before a text.
func message(text string) []byte {
	n := len(text)
	return append([]byte{0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, text...)
}

// call opens a call and returns its stream.
func (p *peer) call(m *Method, owner int32, msg string, last bool) uint32 {
	p.t.Helper()
	id, err := p.s.Open(m, owner, []byte(msg), last)
	p.must(err)
	return id
}

// valid checks the session's own books.
func (s *Session) valid() error {
	active, pending := 0, 0
	for i := range s.streams {
		st := &s.streams[i]
		if st.id == 0 {
			if len(st.pending) > 0 {
				return fmt.Errorf("slot %d is free and has %d bytes to send", i, len(st.pending))
			}
			continue
		}
		active++
		if int(st.id/2)&(len(s.streams)-1) != i {
			return fmt.Errorf("stream %d in slot %d", st.id, i)
		}
		if len(st.pending) > 0 {
			pending++
		}
	}
	if active != s.active || pending != len(s.stalled) {
		return fmt.Errorf("%d streams, %d counted; %d have to wait, %d are listed", active,
			s.active, pending, len(s.stalled))
	}
	return nil
}

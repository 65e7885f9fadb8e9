package rpc

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// tape is a connection whose client said something and has gone.
type tape struct {
	in  io.Reader
	mu  sync.Mutex
	out bytes.Buffer
}

func (t *tape) Read(b []byte) (int, error) { return t.in.Read(b) }

func (t *tape) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.out.Write(b)
}

func (t *tape) Close() error                     { return nil }
func (t *tape) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (t *tape) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (t *tape) SetDeadline(time.Time) error      { return nil }
func (t *tape) SetReadDeadline(time.Time) error  { return nil }
func (t *tape) SetWriteDeadline(time.Time) error { return nil }

// play serves a connection to its end.
func play(s *Server, nc net.Conn) {
	c := newConn(s, nc)
	s.conns[c] = struct{}{}
	var writer sync.WaitGroup
	writer.Go(c.writeLoop)
	c.serve()
	writer.Wait()
}

// FuzzConn gives a server any bytes behind the preface. It must come to an end, and what it
// answers must be frames that a client understands.
func FuzzConn(f *testing.F) {
	var head, body bytes.Buffer
	enc := hpack.NewEncoder(&head)
	for _, h := range [][2]string{{":method", "POST"}, {":scheme", "http"},
		{":path", "/test.Echo/Now"}, {":authority", "x"}, {"content-type", "application/grpc"}} {
		if err := enc.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}); err != nil {
			f.Fatal(err)
		}
	}
	fr := http2.NewFramer(&body, nil)
	fr.AllowIllegalWrites = true
	for _, err := range []error{
		fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 3}),
		fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head.Bytes()[:4]}),
		fr.WriteContinuation(1, true, head.Bytes()[4:]),
		fr.WriteDataPadded(1, true, message("hello"), []byte{0, 0}),
		fr.WriteWindowUpdate(1, 5), fr.WritePing(false, [8]byte{}),
		fr.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0}),
		fr.WritePriority(1, http2.PriorityParam{}), fr.WriteRSTStream(1, 8),
		fr.WriteGoAway(0, 0, nil),
	} {
		if err != nil {
			f.Fatal(err)
		}
	}
	f.Add(body.Bytes())
	for i := range body.Len() {
		if i%7 == 0 {
			f.Add(body.Bytes()[:i])
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newEcho(Options{MaxRecvBytes: 1 << 16})
		nc := &tape{in: io.MultiReader(bytes.NewReader([]byte(http2.ClientPreface)),
			bytes.NewReader(b))}
		play(s, nc)
		s.handlers.Wait()
		nc.mu.Lock()
		defer nc.mu.Unlock()
		dec := hpack.NewDecoder(4096, nil)
		reader := http2.NewFramer(nil, &nc.out)
		reader.ReadMetaHeaders = dec
		for {
			if _, err := reader.ReadFrame(); err == io.EOF {
				return
			} else if err != nil {
				t.Fatalf("the answers are no frames: %v", err)
			}
		}
	})
}

// FuzzHead compares heads that come from the cache with ones that are decoded each time.
func FuzzHead(f *testing.F) {
	f.Add([]byte{0x83, 0x86, 0x84}, []byte{0x82, 0x86, 0x84})
	f.Add([]byte{0x40, 1, 'a', 1, 'b', 0x83, 0x86, 0x84}, []byte{0x83, 0x86, 0x84, 0xbe})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var cached, plain headParser
		cached.init()
		plain.init()
		for _, block := range [][]byte{a, b, a, b, b, a} {
			got, err := cached.parse(block, nil)
			plain.cache = headCache{}
			want, wantErr := plain.parse(block, nil)
			if (err == nil) != (wantErr == nil) {
				t.Fatalf("%x: %v with the cache, %v without", block, err, wantErr)
			}
			if err != nil {
				if err == errMalformed {
					continue
				}
				return // the connection ends
			}
			if got.path != want.path || got.verb != want.verb || got.grpc != want.grpc ||
				len(got.fields) != len(want.fields) {
				t.Fatalf("%x: %+v with the cache, %+v without", block, got, want)
			}
			for i := range got.fields {
				if got.fields[i] != want.fields[i] {
					t.Fatalf("%x: field %d differs", block, i)
				}
			}
		}
	})
}

// FuzzFrame compares the parser of frames with x/net's.
func FuzzFrame(f *testing.F) {
	f.Add([]byte{0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, n, err := parseFrame(b)
		h, herr := http2.ReadFrameHeader(bytes.NewReader(b))
		switch {
		case herr != nil:
			if n != 0 || err != nil {
				t.Fatalf("%d bytes of a header became a frame", len(b))
			}
		case h.Length > maxFrameBytes:
			if err == nil {
				t.Fatal("a frame that is too large was taken")
			}
		case int(h.Length) > len(b)-frameHeaderBytes:
			if n != 0 || err != nil {
				t.Fatal("a frame was taken before it was complete")
			}
		case got.kind != h.Type || got.flags != h.Flags || got.stream != h.StreamID ||
			len(got.payload) != int(h.Length) || n != frameHeaderBytes+len(got.payload):
			t.Fatalf("%+v, want %v", got, h)
		}
	})
}

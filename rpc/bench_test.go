package rpc

import (
	"bytes"
	"io"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// burst is a client that sends the same batch of frames again and again, n times, with new stream
// ids, and forgets what it is answered.
type burst struct {
	tape
	head  []byte // what comes first
	batch []byte
	ids   []int // where in batch a stream id stands
	next  uint32
	n     int
}

func (b *burst) Read(p []byte) (int, error) {
	if len(b.head) > 0 {
		n := copy(p, b.head)
		b.head = b.head[n:]
		return n, nil
	}
	if b.n == 0 || len(p) < len(b.batch) {
		return 0, io.EOF
	}
	b.n--
	n := copy(p, b.batch)
	for i, at := range b.ids {
		id := b.next + uint32(i/2)*2
		p[at], p[at+1], p[at+2], p[at+3] = byte(id>>24), byte(id>>16), byte(id>>8), byte(id)
	}
	b.next += uint32(len(b.ids))
	return n, nil
}

func (b *burst) Write(p []byte) (int, error) { return len(p), nil }

// newBurst makes batches of calls requests, as grpc-go sends them once it is warm.
func newBurst(b *testing.B, method string, msg []byte, calls, n int) *burst {
	var head, block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	fields := func() []byte {
		block.Reset()
		for _, h := range [][2]string{{":method", "POST"}, {":scheme", "http"},
			{":path", "/" + echoService + "/" + method}, {":authority", "localhost:2379"},
			{"content-type", "application/grpc"}, {"user-agent", "grpc-go/1.85.0"},
			{"te", "trailers"}, {"client-api-version", "3.7"}} {
			if err := enc.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}); err != nil {
				b.Fatal(err)
			}
		}
		return bytes.Clone(block.Bytes())
	}
	head.WriteString(http2.ClientPreface)
	fr := http2.NewFramer(&head, nil)
	write := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	write(fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: maxWindow}))
	write(fr.WriteWindowUpdate(0, maxWindow-defaultWindow))
	write(fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: fields(),
		EndHeaders: true, EndStream: true}))
	warm := fields()
	var batch bytes.Buffer
	fr = http2.NewFramer(&batch, nil)
	s := &burst{head: head.Bytes(), next: 3, n: n}
	for range calls {
		s.ids = append(s.ids, batch.Len()+5)
		write(fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: warm,
			EndHeaders: true}))
		s.ids = append(s.ids, batch.Len()+5)
		write(fr.WriteData(1, true, append([]byte{0, 0, 0, byte(len(msg) >> 8), byte(len(msg))},
			msg...)))
	}
	s.batch = batch.Bytes()
	return s
}

// BenchmarkUnary is what a call costs in the server, but for the socket: 300 bytes there and 20
// back, 50 calls with each read.
func BenchmarkUnary(b *testing.B) {
	reply := make([]byte, 20)
	s := New(Options{})
	s.Unary(echoService, "Put", func(c *Call) { c.Reply(reply) })
	const calls = 50
	nc := newBurst(b, "Put", make([]byte, 300), calls, (b.N+calls-1)/calls)
	b.ReportAllocs()
	b.ResetTimer()
	play(s, nc)
}

// BenchmarkUnaryAsync is the same with answers that come from another goroutine, corked.
func BenchmarkUnaryAsync(b *testing.B) {
	reply := make([]byte, 20)
	s := New(Options{})
	calls := make(chan *Call, 1000)
	s.Unary(echoService, "Put", func(c *Call) { calls <- c })
	done := make(chan struct{})
	go func() {
		defer close(done)
		for c := range calls {
			s.Cork()
			c.Reply(reply)
			for more := len(calls); more > 0; more-- {
				(<-calls).Reply(reply)
			}
			s.Uncork()
		}
	}()
	const batch = 50
	nc := newBurst(b, "Put", make([]byte, 300), batch, (b.N+batch-1)/batch)
	b.ReportAllocs()
	b.ResetTimer()
	play(s, nc)
	close(calls)
	<-done
}

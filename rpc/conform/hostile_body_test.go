package conform

import (
	"bytes"
	gz "compress/gzip"
	"errors"
	"io"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/cairnkv/cairn/rpc/conform/raw"
)

// settled is an enemy whose settings and the server's have been exchanged: nothing comes between
// the frames that it sends.
func (a *arena) settled() *raw.Conn {
	c := a.enemy(raw.Config{})
	a.wait(c, func(s *raw.State) bool { return s.SettingsAcks > 0 && len(s.Settings) > 0 })
	return c
}

// headerAttacks are blocks of headers that do not end, or that are larger than they seem.
var headerAttacks = []attack{
	{name: "continuations", run: func(a *arena) {
		c := a.settled()
		c.Frame(http2.FrameHeaders, 0, 1, c.Encode(raw.Request(unaryMethod)))
		// Literals that no table keeps, without an end.
		block := bytes.Repeat(append([]byte{0x10, 1, 'x', 100}, make([]byte, 100)...), 150)
		flood(c, 16_000, func(int) { c.Frame(http2.FrameContinuation, 0, 1, block) })
		a.gone(c, http2.ErrCodeProtocol, http2.ErrCodeEnhanceYourCalm, http2.ErrCodeCompression,
			http2.ErrCodeFrameSize)
	}},
	{name: "empty continuations", run: func(a *arena) {
		c := a.settled()
		c.Frame(http2.FrameHeaders, 0, 1, c.Encode(raw.Request(unaryMethod)))
		flood(c, 1_000_000, func(int) { c.Frame(http2.FrameContinuation, 0, 1, nil) })
		if a.k.name != "reference" { // grpc-go waits for the end of them
			a.gone(c, http2.ErrCodeProtocol, http2.ErrCodeEnhanceYourCalm)
		}
	}},
	{name: "a long string without an end", run: func(a *arena) {
		c := a.settled()
		// A literal of 2^31 bytes, which come.
		c.Frame(http2.FrameHeaders, 0, 1, []byte{0x10, 1, 'x', 0x7f, 0x81, 0xff, 0xff, 0xff, 7})
		block := make([]byte, 16<<10)
		flood(c, 16_000, func(int) { c.Frame(http2.FrameContinuation, 0, 1, block) })
		a.gone(c, http2.ErrCodeProtocol, http2.ErrCodeEnhanceYourCalm, http2.ErrCodeCompression,
			http2.ErrCodeFrameSize)
	}},
	{name: "bomb of the table", limit: 128 << 20, run: func(a *arena) {
		c := a.enemy(raw.Config{})
		bomb := append([]byte{0x40, 1, 'x', 0x7f, 0xa1, 0x1e}, make([]byte, 4000)...)
		bomb = append(bomb, bytes.Repeat([]byte{0xbe}, 12_000)...) // 4 kB each
		block := append(bytes.Clone(c.Encode(raw.Request(unaryMethod))), bomb...)
		flood(c, 30, func(i int) {
			c.Frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, uint32(2*i+1),
				block[:min(len(block), 16<<10)])
		})
		a.alive(c)
	}},
	{name: "long lists", limit: 128 << 20, run: func(a *arena) {
		c := a.enemy(raw.Config{})
		fields := raw.Request(streamMethod)
		long := hpack.HeaderField{Name: "x-a", Value: strings.Repeat("a", 4000), Sensitive: true}
		for range 1000 {
			fields = append(fields, long)
		}
		flood(c, 10, func(int) { c.Open(fields, false) })
		a.alive(c)
	}},
	{name: "empty headers", run: func(a *arena) {
		c := a.enemy(raw.Config{})
		flood(c, 100_000, func(i int) {
			c.Frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, uint32(2*i+1), nil)
		})
		a.alive(c)
	}},
	{name: "malformed headers", run: func(a *arena) {
		c := a.enemy(raw.Config{})
		bad := raw.Request(unaryMethod, raw.Field("Upper", "case"))
		flood(c, 50_000, func(int) { c.Open(bad, true) })
		a.alive(c)
	}},
	{name: "bad hpack", run: func(a *arena) {
		for _, block := range [][]byte{
			{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, // an endless index
			{0xff, 0x7f},                 // an index that is not there
			{0x80},                       // index 0
			{0x3f, 0xff, 0xff, 0x7f},     // a larger table than allowed
			{0x40, 1, 'x', 1, 'y', 0x20}, // a change of the table in the middle
			{0x10, 1, 'x', 0x84, 0xff, 0xff, 0xff, 0xff}, // Huffman's end
			{0x40, 10, 'x'}, // cut off
		} {
			c := a.enemy(raw.Config{})
			c.Frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, 1,
				block)
			a.gone(c, http2.ErrCodeCompression)
		}
		for range 100 {
			c := a.enemy(raw.Config{})
			c.Frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, 1,
				noisy(a, 200))
			a.alive(c)
		}
	}},
	{name: "bad padding", run: func(a *arena) {
		for _, kind := range []http2.FrameType{http2.FrameHeaders, http2.FrameData} {
			c := a.enemy(raw.Config{})
			c.Open(raw.Request(streamMethod), false)
			id := uint32(1)
			if kind == http2.FrameHeaders {
				id = 3
			}
			c.Frame(kind, 0x8|0x4, id, []byte{200, 1, 2, 3})
			if a.k.name == "reference" {
				a.alive(c) // grpc-go ends the stream alone
			} else {
				a.gone(c, http2.ErrCodeProtocol)
			}
		}
	}},
}

// windowAttacks keep the server from sending, or make it send in crumbs.
var windowAttacks = []attack{
	{name: "drips", run: func(a *arena) {
		c := a.enemy(raw.Config{NoGrant: true,
			Settings: []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 0}}})
		id := a.ask(c, "1 1000000")
		flood(c, 20_000, func(int) { c.Grant(id, 1) })
		a.alive(c)
		c.Look(func(s *raw.State) {
			if s.DataBytes > 20_000 {
				a.t.Errorf("%d bytes came", s.DataBytes)
			}
		})
	}},
	{name: "tiny windows", options: options{maxStreams: 100},
		greedy: "takes 1 MiB for each message of 50 kB", run: func(a *arena) {
			c := a.enemy(raw.Config{NoGrant: true,
				Settings: []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 1}}})
			for range 100 {
				a.ask(c, "1000 50000")
			}
			a.alive(c)
		}},
	{name: "no window and requests", options: options{maxStreams: 100}, run: func(a *arena) {
		c := a.enemy(raw.Config{NoGrant: true,
			Settings: []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 0}}})
		body := value(strings.Repeat("x", 20_000))
		flood(c, 10_000, func(int) { // most are refused
			c.Data(c.Open(raw.Request(unaryMethod), false), true, body)
		})
		a.alive(c)
	}},
	// A thousand answers of 50 kB are allowed to be in the making.
	{name: "requests, deaf", options: pinged, limit: 192 << 20,
		greedy: "makes the answers to all that it reads, and reads on", run: func(a *arena) {
			c := a.enemy(raw.Config{Deaf: true, WriteTimeout: patience})
			flood(c, 20_000, func(int) { a.ask(c, "1 50000") })
			a.cut(c)
		}},
	{name: "large window, deaf", options: pinged, limit: 192 << 20,
		greedy: "queues what the windows allow, which are gigabytes here", run: func(a *arena) {
			c := a.enemy(raw.Config{Deaf: true, WriteTimeout: patience,
				Settings: []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1}}})
			c.Grant(0, 1<<31-1-65535)
			flood(c, 100, func(int) { a.ask(c, "10000 100000") })
			a.cut(c)
		}},
	{name: "windows that overflow", run: func(a *arena) {
		c := a.enemy(raw.Config{})
		flood(c, 1000, func(int) {
			id := c.Open(raw.Request(streamMethod), false)
			c.Grant(id, 1<<31-1)
		})
		a.alive(c)
		c = a.enemy(raw.Config{})
		c.Grant(0, 1<<31-1)
		c.Grant(0, 1<<31-1)
		if a.k.name == "reference" {
			a.alive(c) // grpc-go does not look
		} else {
			a.gone(c, http2.ErrCodeFlowControl)
		}
		c = a.enemy(raw.Config{Settings: []http2.Setting{
			{ID: http2.SettingInitialWindowSize, Val: 1 << 31}}})
		a.gone(c, http2.ErrCodeFlowControl)
	}},
	// What one connection may have under way is up to the server; 640 MiB are too much.
	{name: "more than the windows", options: options{maxRecv: 1 << 30, maxStreams: 100},
		limit: 256 << 20, greedy: "lets a handler ask for all of a message that is announced",
		run: func(a *arena) {
			c, chunk := a.enemy(raw.Config{}), make([]byte, 16<<10)
			for range 100 {
				id := c.Open(raw.Request(stuckMethod), false)
				flood(c, 400, func(int) { c.Data(id, false, chunk) })
			}
			a.alive(c)
		}},
}

// ask begins a Down call.
func (a *arena) ask(c *raw.Conn, what string) uint32 {
	id := c.Open(raw.Request(downMethod), false)
	c.Data(id, true, value(what))
	return id
}

// value is a message of a value.
func value(s string) []byte {
	b, _ := proto.Marshal(wrapperspb.Bytes([]byte(s))) // cannot fail
	return raw.Message(b)
}

// bodyAttacks are requests that promise more than they hold, or hold more than they show.
var bodyAttacks = []attack{
	{name: "empty data", run: func(a *arena) {
		c := a.enemy(raw.Config{})
		id := c.Open(raw.Request(streamMethod), false)
		flood(c, 300_000, func(int) { c.Data(id, false, nil) })
		a.alive(c)
	}},
	{name: "padding alone", run: func(a *arena) {
		c := a.enemy(raw.Config{})
		id := c.Open(raw.Request(streamMethod), false)
		padding := append([]byte{255}, make([]byte, 255)...)
		// The server gives their windows back, so an enemy that keeps to them may go on for ever.
		for range 2000 {
			c.Together(func() {
				for range 100 {
					c.Frame(http2.FrameData, http2.FlagDataPadded, id, padding)
				}
			})
			if c.Err() != nil {
				break
			}
		}
		a.alive(c)
	}},
	{name: "byte by byte", run: func(a *arena) {
		c := a.enemy(raw.Config{})
		id := c.Open(raw.Request(streamMethod), false)
		c.Data(id, false, raw.Prefix(false, 1<<20))
		flood(c, 60_000, func(int) { c.Data(id, false, []byte{0}) })
		a.alive(c)
	}},
	{name: "more than it said", run: func(a *arena) {
		chunk := make([]byte, 16<<10)
		for _, path := range []string{unaryMethod, downMethod} {
			c := a.enemy(raw.Config{})
			id := c.Open(raw.Request(path), false)
			c.Data(id, false, raw.Prefix(false, 1))
			flood(c, 16_000, func(int) { c.Data(id, false, chunk) })
			a.alive(c)
		}
	}},
	{name: "promises", options: options{maxStreams: 1000}, run: func(a *arena) {
		c := a.enemy(raw.Config{})
		flood(c, 1000, func(int) {
			id := c.Open(raw.Request(streamMethod), false)
			c.Data(id, false, append(raw.Prefix(false, 4<<20), 0))
		})
		a.alive(c)
	}},
	{name: "lies", run: func(a *arena) {
		c := a.enemy(raw.Config{})
		flood(c, 5000, func(i int) {
			id := c.Open(raw.Request([]string{unaryMethod, streamMethod}[i%2]), false)
			c.Data(id, false, append(raw.Prefix(i%3 == 0, 1<<32-1-uint32(i)), 0))
		})
		a.alive(c)
	}},
	{name: "bombs", options: options{maxRecv: 1 << 20}, run: func(a *arena) {
		bomb := zeros(256 << 20)
		for _, path := range []string{unaryMethod, streamMethod, unaryMethod, streamMethod} {
			c := a.raw(raw.Config{WriteTimeout: patience})
			a.wait(c, func(s *raw.State) bool { return s.SettingsAcks > 0 })
			id := c.Open(raw.Request(path, raw.Field("grpc-encoding", "gzip")), false)
			const chunk = 10_000
			for sent := 0; sent < len(bomb); {
				n := min(chunk, len(bomb)-sent)
				a.wait(c, func(s *raw.State) bool { return s.Window(id)-sent >= n || s.Done(id) })
				sent += n
				c.Data(id, sent == len(bomb), bomb[sent-n:sent])
			}
			if s := a.stream(c, id); s.Field("grpc-status") != "8" {
				a.t.Errorf("%v", &s)
			}
		}
	}},
	{name: "bombs of bombs", options: options{maxRecv: 1 << 20, maxStreams: 100},
		run: func(a *arena) {
			bomb := zeros(32 << 20)
			c := a.enemy(raw.Config{})
			flood(c, 300, func(i int) {
				id := c.Open(raw.Request(unaryMethod, raw.Field("grpc-encoding", "gzip")), false)
				c.Data(id, true, bomb)
			})
			a.alive(c)
		}},
	{name: "many deadlines", options: options{maxStreams: 1000}, run: func(a *arena) {
		c := a.enemy(raw.Config{})
		flood(c, 20_000, func(i int) {
			c.Open(raw.Request(streamMethod, raw.Field("grpc-timeout", "1n")), false)
		})
		a.alive(c)
		if !poll(func() bool { return a.now.Load() == 1 }) {
			a.t.Errorf("%d handlers run", a.now.Load())
		}
	}},
}

// zeros is a message of n zero bytes, compressed.
func zeros(n int64) []byte {
	var out bytes.Buffer
	w := gz.NewWriter(&out)
	_, err := io.Copy(w, io.LimitReader(zero{}, n))
	if err = errors.Join(err, w.Close()); err != nil {
		panic(err) // a bytes.Buffer does not fail
	}
	return append(raw.Prefix(true, uint32(out.Len())), out.Bytes()...)
}

type zero struct{}

func (zero) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

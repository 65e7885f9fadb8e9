package conform

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/cairnkv/cairn/rpc/conform/raw"
)

// tireless is how long an enemy's write may take: a server that does not listen any more keeps it
// from doing harm.
const tireless = 3 * time.Second

// enemy is a connection that counts what comes and keeps nothing.
func (a *arena) enemy(conf raw.Config) *raw.Conn {
	conf.Count = true
	if conf.WriteTimeout == 0 {
		conf.WriteTimeout = tireless
	}
	return a.raw(conf)
}

// flood sends n frames, many at once.
func flood(c *raw.Conn, n int, frame func(i int)) {
	const batch = 1000
	for i := 0; i < n && c.Err() == nil; i += batch {
		c.Together(func() {
			for j := i; j < min(n, i+batch); j++ {
				frame(j)
			}
		})
	}
}

// pinged are options of a server that soon finds out who does not answer.
var pinged = options{interval: time.Second, lastCall: time.Second, maxStreams: 1000}

// TestHostile lets enemies at servers.
func TestHostile(t *testing.T) {
	all := slices.Concat(floods, streamAttacks, headerAttacks, windowAttacks, bodyAttacks,
		beginnings)
	eachRaw(t, func(t *testing.T, k kind) {
		for _, a := range all {
			t.Run(a.name, func(t *testing.T) { defend(t, k, a) })
		}
	})
}

// floods are frames of the connection, too many of them.
var floods = []attack{
	{name: "settings", run: func(a *arena) {
		c := a.enemy(raw.Config{})
		flood(c, 300_000, func(i int) {
			c.Settings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(i)})
		})
		a.alive(c)
	}},
	{name: "settings, deaf", options: pinged, run: func(a *arena) {
		c := a.enemy(raw.Config{Deaf: true, WriteTimeout: patience})
		flood(c, 300_000, func(int) { c.Settings() })
		a.cut(c)
	}},
	{name: "long settings", run: func(a *arena) {
		c := a.enemy(raw.Config{})
		long := make([]http2.Setting, 2700)
		for i := range long {
			long[i] = http2.Setting{ID: http2.SettingID(100 + i), Val: 1}
		}
		flood(c, 2000, func(int) { c.Settings(long...) })
		a.alive(c)
	}},
	{name: "pings", options: options{minTime: 5 * time.Second}, run: func(a *arena) {
		c := a.enemy(raw.Config{})
		flood(c, 300_000, func(int) { c.Ping(false, [8]byte{}) })
		a.gone(c, http2.ErrCodeEnhanceYourCalm)
	}},
	{name: "pings, deaf", options: pinged, run: func(a *arena) {
		c := a.enemy(raw.Config{Deaf: true, WriteTimeout: patience})
		flood(c, 300_000, func(int) { c.Ping(false, [8]byte{}) })
		a.cut(c)
	}},
	{name: "answers to pings", run: func(a *arena) {
		c := a.enemy(raw.Config{})
		flood(c, 300_000, func(int) { c.Ping(true, [8]byte{}) })
		a.alive(c)
	}},
	{name: "settings acknowledged", run: func(a *arena) {
		c := a.enemy(raw.Config{})
		flood(c, 300_000, func(int) { c.Frame(http2.FrameSettings, http2.FlagSettingsAck, 0, nil) })
		a.alive(c)
	}},
	{name: "unknown frames", run: func(a *arena) {
		c := a.enemy(raw.Config{})
		long := make([]byte, 16<<10)
		flood(c, 300_000, func(i int) { c.Frame(0xfa, 0xff, uint32(i), nil) })
		flood(c, 10_000, func(i int) { c.Frame(0xfb, 0, uint32(i), long) })
		a.alive(c)
	}},
	{name: "priorities", run: func(a *arena) {
		c := a.enemy(raw.Config{})
		flood(c, 300_000, func(i int) {
			c.Frame(http2.FramePriority, 0, uint32(2*i+1), []byte{0, 0, 0, 0, 7})
		})
		a.alive(c)
	}},
	{name: "goaways", run: func(a *arena) {
		c := a.enemy(raw.Config{})
		flood(c, 100_000, func(i int) {
			c.Frame(http2.FrameGoAway, 0, 0, append(make([]byte, 8), "good bye"...))
		})
		a.alive(c)
	}},
	{name: "window updates", run: func(a *arena) {
		c := a.enemy(raw.Config{})
		id := c.Open(raw.Request(streamMethod), false)
		flood(c, 300_000, func(i int) { c.Grant(uint32(i%2)*id, 1) })
		a.alive(c)
	}},
	{name: "size of the table", run: func(a *arena) {
		c := a.enemy(raw.Config{})
		flood(c, 50_000, func(i int) {
			c.Settings(http2.Setting{ID: http2.SettingHeaderTableSize,
				Val: uint32(i%2) * (1<<32 - 1)})
			if i%100 == 0 {
				c.Open(raw.Request("/no.Service/Method"), true)
			}
		})
		a.alive(c)
	}},
	{name: "windows of many streams", options: options{maxStreams: 1000}, run: func(a *arena) {
		c := a.enemy(raw.Config{})
		for range 1000 {
			c.Open(raw.Request(streamMethod), false)
		}
		flood(c, 10_000, func(i int) {
			c.Settings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(i)})
		})
		a.alive(c)
	}},
}

// streamAttacks open, end and leave streams.
var streamAttacks = []attack{
	// CVE-2023-44487.
	{name: "rapid reset", options: options{maxStreams: 100}, run: func(a *arena) {
		c := a.enemy(raw.Config{})
		flood(c, 50_000, func(int) {
			c.Reset(c.Open(raw.Request(stuckMethod), true), http2.ErrCodeCancel)
		})
		a.few(100)
		a.letGo()
		a.alive(c)
	}},
	{name: "rapid reset without a limit", run: func(a *arena) {
		c := a.enemy(raw.Config{})
		flood(c, 100_000, func(int) {
			c.Reset(c.Open(raw.Request(streamMethod), false), http2.ErrCodeCancel)
		})
		a.alive(c)
	}},
	{name: "rapid reset of unary calls", run: func(a *arena) {
		c := a.enemy(raw.Config{})
		flood(c, 100_000, func(int) {
			id := c.Open(raw.Request(unaryMethod), false)
			c.Data(id, true, raw.Message(nil))
			c.Reset(id, http2.ErrCodeCancel)
		})
		a.alive(c)
	}},
	// CVE-2025-8671: the server is made to reset what it still works on.
	{name: "made you reset", options: options{maxStreams: 100}, run: func(a *arena) {
		c := a.enemy(raw.Config{})
		flood(c, 50_000, func(i int) {
			id := c.Open(raw.Request(stuckMethod), true)
			if i%2 == 0 {
				c.Grant(id, 0)
			} else {
				c.Data(id, true, nil)
			}
		})
		a.few(100)
		a.letGo()
		a.alive(c)
	}},
	{name: "more streams than allowed", options: options{maxStreams: 100}, run: func(a *arena) {
		c := a.enemy(raw.Config{})
		flood(c, 100_000, func(int) { c.Open(raw.Request(streamMethod), false) })
		a.few(100)
		a.alive(c)
	}},
	{name: "more streams than allowed, deaf", options: options{interval: time.Second,
		lastCall: time.Second, maxStreams: 100}, run: func(a *arena) {
		c := a.enemy(raw.Config{Deaf: true, WriteTimeout: patience})
		flood(c, 200_000, func(int) { c.Open(raw.Request(streamMethod), false) })
		a.few(100)
		a.cut(c)
	}},
	{name: "streams that never end", options: options{maxStreams: 5000}, limit: 128 << 20,
		run: func(a *arena) {
			c := a.enemy(raw.Config{})
			flood(c, 5000, func(int) { c.Open(raw.Request(streamMethod), false) })
			a.alive(c)
			if !poll(func() bool { return a.now.Load() == 5001 }) {
				a.t.Errorf("%d handlers run", a.now.Load())
			}
			c.Close()
			if !poll(func() bool { return a.now.Load() == 1 }) { // the honest client's
				a.t.Errorf("%d handlers run after the connection was closed", a.now.Load())
			}
		}},
	{name: "a closed stream", run: func(a *arena) {
		c := a.enemy(raw.Config{})
		id := c.Open(raw.Request(streamMethod), true)
		a.wait(c, func(s *raw.State) bool { return s.Ends == 1 })
		flood(c, 100_000, func(i int) {
			switch i % 4 {
			case 0:
				c.Data(id, false, []byte("late"))
			case 1:
				c.Grant(id, 1)
			case 2:
				c.Reset(id, http2.ErrCodeCancel)
			case 3:
				c.Frame(http2.FramePriority, 0, id, []byte{0, 0, 0, 0, 7})
			}
		})
		a.alive(c)
	}},
	{name: "a stream begun twice", run: func(a *arena) {
		c := a.enemy(raw.Config{})
		id := c.Open(raw.Request(streamMethod), false)
		c.Headers(id, raw.Request(streamMethod), false)
		a.alive(c)
	}},
	{name: "streams of the server", run: func(a *arena) {
		c := a.enemy(raw.Config{})
		c.Headers(2, raw.Request(streamMethod), true)
		a.gone(c, http2.ErrCodeProtocol)
	}},
	{name: "idle streams", run: func(a *arena) {
		for _, touch := range []func(*raw.Conn){
			func(c *raw.Conn) { c.Data(7, false, []byte("data")) },
			func(c *raw.Conn) { c.Reset(7, http2.ErrCodeCancel) },
			func(c *raw.Conn) { c.Grant(7, 1) },
		} {
			c := a.enemy(raw.Config{})
			touch(c)
			if a.k.name == "reference" {
				a.alive(c) // grpc-go takes them for streams that were closed
			} else {
				a.gone(c, http2.ErrCodeProtocol)
			}
		}
	}},
	{name: "pushes", run: func(a *arena) {
		c := a.enemy(raw.Config{})
		block := c.Encode(raw.Request(streamMethod))
		flood(c, 1000, func(int) {
			c.Frame(http2.FramePushPromise, http2.FlagPushPromiseEndHeaders, 1,
				append([]byte{0, 0, 0, 2}, block...))
		})
		if a.k.name == "reference" {
			a.alive(c) // grpc-go does not look at them
		} else {
			a.gone(c, http2.ErrCodeProtocol)
		}
	}},
}

// few demands that no more handlers ran at once, besides the honest client's.
func (a *arena) few(limit int32) {
	a.t.Helper()
	if n := a.most.Load(); n > limit+1 {
		a.t.Errorf("%d handlers ran at once", n)
	}
}

// beginnings are connections that are none.
var beginnings = []attack{
	{name: "nonsense", run: func(a *arena) {
		seed := rand.Uint64()
		a.t.Logf("seed %d", seed)
		rnd := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
		noise := make([]byte, 10_000)
		_, _ = rnd.Read(noise) // never fails
		for _, b := range [][]byte{
			noise,
			[]byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
			[]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\rX" + "rest"),
			[]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + string(noise[:600])),
			append([]byte(raw.Preface), noise...),
			[]byte(raw.Preface + "\x00\x00\x00\x06\x00\x00\x00\x00\x00"), // PING first
			[]byte(raw.Preface + "\xff\xff\xff\x04\x00\x00\x00\x00\x00"), // too long
			[]byte(raw.Preface + "\x00\x00\x05\x04\x00\x00\x00\x00\x00" + "12345"),
			[]byte(raw.Preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x01"), // of a stream
		} {
			for range 10 {
				c := a.enemy(raw.Config{Silent: true})
				c.Bytes(b)
				a.gone(c, http2.ErrCodeProtocol, http2.ErrCodeFrameSize)
			}
		}
	}},
	{name: "silence from the start", run: func(a *arena) {
		for i := range 300 {
			c := a.enemy(raw.Config{Silent: true})
			c.Bytes([]byte(raw.Preface)[:i%len(raw.Preface)])
		}
	}},
	{name: "silence after the beginning", options: pinged, run: func(a *arena) {
		var silent []*raw.Conn
		for range 300 {
			silent = append(silent, a.enemy(raw.Config{NoPong: true}))
		}
		for _, c := range silent {
			a.wait(c, func(s *raw.State) bool { return s.Closed != nil })
		}
	}},
	{name: "comings and goings", run: func(a *arena) {
		for i := range 500 {
			c := a.enemy(raw.Config{})
			if i%2 == 0 {
				c.Open(raw.Request(streamMethod), false)
			}
			c.Close()
		}
		if !poll(func() bool { return a.now.Load() == 1 }) {
			a.t.Errorf("%d handlers run", a.now.Load())
		}
	}},
}

// noisy is n bytes of no meaning, and the seed that they come from.
func noisy(a *arena, n int) []byte {
	seed := rand.Uint64()
	a.t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

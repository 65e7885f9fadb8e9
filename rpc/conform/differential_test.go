package conform

import (
	"bytes"
	gz "compress/gzip"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/cairnkv/cairn/rpc/conform/raw"
)

var (
	flagSeed    = flag.Uint64("seed", 0, "the seed of the first script of TestDifferential; 0: any")
	flagScripts = flag.Int("scripts", 1000, "how many scripts TestDifferential tries")
)

// step is one thing that a client does, on one of the streams of a script.
type step struct {
	kind   string
	stream int // from 0, in the order of opening
	fields []hpack.HeaderField
	body   []byte
	end    bool
	n      uint32
}

func (s step) String() string {
	var fields []string
	for _, f := range s.fields {
		fields = append(fields, f.Name+"="+f.Value)
	}
	return fmt.Sprintf("%s %d %.200q %d bytes %.20x end=%v n=%d", s.kind, s.stream, fields,
		len(s.body), s.body, s.end, s.n)
}

// outcome is what becomes of a stream, where neither HTTP/2 nor gRPC leaves the server a choice.
func outcome(s *raw.Stream) string {
	switch {
	case s == nil:
		return "nothing"
	case s.Malformed != nil:
		return s.Malformed.Error()
	case s.Field(":status") != "" && s.Field(":status") != "200":
		return ":status " + s.Field(":status")
	case s.Field("grpc-status") == "0":
		return fmt.Sprintf("ok, %x", opened(s.Data))
	case s.Field("grpc-status") == "13":
		return "grpc-status 13" // which flaw is seen first is up to the server
	case s.Field("grpc-status") != "":
		// How much of the answer comes before an error is up to the server, and whether it resets
		// the stream besides.
		return fmt.Sprintf("grpc-status %s %q", s.Field("grpc-status"), s.Field("grpc-message"))
	case s.Reset != nil:
		return "reset"
	case s.Ended:
		return fmt.Sprintf("ended without a status: %v", s.Blocks)
	}
	return fmt.Sprintf("goes on: :status %s, %x", s.Field(":status"), s.Data)
}

// opened is the messages of a body, compressed or not.
func opened(b []byte) (out [][]byte) {
	for len(b) >= 5 {
		n := 5 + int(binary.BigEndian.Uint32(b[1:]))
		if len(b) < n {
			break
		}
		m := b[5:n]
		if b[0] == 1 {
			r, err := gz.NewReader(bytes.NewReader(m))
			if err == nil {
				m, err = io.ReadAll(r)
			}
			if err != nil {
				m = []byte(err.Error())
			}
		}
		out, b = append(out, m), b[n:]
	}
	return append(out, b)
}

// TestDifferential sends random frames that are allowed to grpc-go's server and to the product's:
// what becomes of each stream must be the same. A failure tells its seed.
func TestDifferential(t *testing.T) {
	seed := *flagSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	var rigs []*rig
	for _, k := range rawKinds {
		// Pings are no matter here: a client that waits for its answers sends many.
		rigs = append(rigs, start(t, k, options{maxRecv: 1000, minTime: time.Nanosecond}, echoes))
	}
	for i := range *flagScripts {
		script := makeScript(rand.New(rand.NewPCG(seed+uint64(i), 0)))
		want := play(rigs[0], script)
		for j, r := range rigs[1:] {
			if got := play(r, script); !slices.Equal(got, want) {
				var text strings.Builder
				for _, s := range script {
					fmt.Fprintln(&text, s)
				}
				t.Fatalf("-seed %d: %s:\n%s\nnot as the reference:\n%s\nscript:\n%s",
					seed+uint64(i), rawKinds[j+1].name, strings.Join(got, "\n"),
					strings.Join(want, "\n"), text.String())
			}
		}
	}
}

// play runs a script on a connection of its own, and returns the outcomes of its streams.
func play(r *rig, script []step) (out []string) {
	c, err := raw.Dial(r.ctx, r.addr, raw.Config{})
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	var ids []uint32
	finished, left := map[int]bool{}, map[int]bool{} // by the client
	for _, s := range script {
		if s.kind == "open" {
			ids = append(ids, c.Open(s.fields, s.end))
		} else {
			do(r, c, ids[s.stream], s)
		}
		finished[s.stream] = finished[s.stream] || s.end
		left[s.stream] = left[s.stream] || s.kind == "reset"
	}
	for i, id := range ids {
		done := finished[i] || left[i]
		c.Look(func(s *raw.State) { done = done || s.Done(id) })
		if !done { // so that each comes to an end
			c.Data(id, true, nil)
		}
	}
	for i, id := range ids {
		if left[i] { // an answer may have crossed the reset
			continue
		}
		r.wait(c, func(s *raw.State) bool { return s.Done(id) || s.Closed != nil })
		c.Look(func(s *raw.State) {
			out = append(out, fmt.Sprintf("%d: %s", i, outcome(s.Streams[id])))
		})
	}
	r.pong(c)
	c.Look(func(s *raw.State) { out = append(out, fmt.Sprintf("goaways %d", len(s.GoAways))) })
	return out
}

// do sends what a step says.
func do(r *rig, c *raw.Conn, id uint32, s step) {
	switch s.kind {
	case "data":
		c.Data(id, s.end, s.body)
	case "padded":
		flags := http2.FlagDataPadded
		if s.end {
			flags |= http2.FlagDataEndStream
		}
		c.Frame(http2.FrameData, flags, id, slices.Concat([]byte{byte(s.n)}, s.body,
			make([]byte, byte(s.n))))
	case "grant":
		c.Grant(id*(s.n&1), s.n)
	case "settings":
		c.Settings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: s.n},
			http2.Setting{ID: 0x77, Val: s.n})
	case "priority":
		c.Frame(http2.FramePriority, 0, id, []byte{0, 0, 0, 0, byte(s.n)})
	case "unknown":
		c.Frame(0x77, http2.Flags(s.n), id, s.body)
	case "reset":
		c.Reset(id, http2.ErrCodeCancel)
	case "wait":
		r.pong(c)
	}
}

// maxWaits is how many pings a script may send: a connection that is idle allows no more.
const maxWaits = 2

// makeScript makes a script: several streams, each with at most one flaw, whose frames are mixed.
func makeScript(rnd *rand.Rand) (script []step) {
	var queues [][]step
	for i := range 1 + rnd.IntN(6) {
		queues = append(queues, makeStream(rnd, i))
	}
	opened, waits := 0, 0
	for len(queues) > 0 {
		i := rnd.IntN(len(queues))
		s := queues[i][0]
		if s.kind == "open" && s.stream != opened { // numbers rise
			continue
		}
		if s.kind == "open" {
			opened++
		}
		script = append(script, s)
		if queues[i] = queues[i][1:]; len(queues[i]) == 0 {
			queues = slices.Delete(queues, i, i+1)
		}
		if rnd.IntN(20) == 0 && waits < maxWaits {
			waits++
			script = append(script, step{kind: "wait", stream: s.stream})
		}
	}
	return script
}

// makeStream makes the steps of one stream.
func makeStream(rnd *rand.Rand, i int) []step {
	path := []string{unaryMethod, streamMethod, streamMethod, "/no.Service/M", "/conform.Test/No",
		"/short"}[rnd.IntN(6)]
	fields, coded := makeFields(rnd, path)
	body := makeBody(rnd, coded, path == unaryMethod)
	steps := []step{{kind: "open", stream: i, fields: fields}}
	for len(body) > 0 {
		n := min(len(body), 1+rnd.IntN(1+rnd.IntN(400)))
		s := step{kind: "data", stream: i, body: body[:n]}
		if rnd.IntN(3) == 0 {
			s.kind, s.n = "padded", uint32(rnd.IntN(256))
		}
		steps, body = append(steps, s), body[n:]
		switch rnd.IntN(12) {
		case 0:
			steps = append(steps, step{kind: "grant", stream: i, n: 1 + rnd.Uint32N(1000)})
		case 1:
			steps = append(steps, step{kind: "settings", stream: i, n: 1000 + rnd.Uint32N(70_000)})
		case 2:
			steps = append(steps, step{kind: "priority", stream: i, n: rnd.Uint32N(256)})
		case 3:
			steps = append(steps, step{kind: "unknown", stream: i, n: rnd.Uint32N(256),
				body: make([]byte, rnd.IntN(50))})
		}
	}
	switch last := &steps[len(steps)-1]; {
	case rnd.IntN(10) == 0:
		steps = append(steps, step{kind: "reset", stream: i})
	case last.kind == "open" || last.kind == "data" || last.kind == "padded":
		last.end = rnd.IntN(2) == 0
	}
	return steps
}

// makeFields makes the headers of a request, and says whether its messages may be compressed.
func makeFields(rnd *rand.Rand, path string) (fields []hpack.HeaderField, coded bool) {
	fields = raw.Request(path)
	for range rnd.IntN(4) {
		fields = append(fields, hpack.HeaderField{Name: fmt.Sprintf("x-%d", rnd.IntN(5)),
			Value: strings.Repeat("v", rnd.IntN(60)), Sensitive: rnd.IntN(3) == 0})
	}
	flaw := func(name, value string) { fields = append(fields, raw.Field(name, value)) }
	switch rnd.IntN(24) {
	case 0:
		flaw("grpc-timeout", "never")
	case 1:
		flaw("x-y-bin", "=!=")
	case 2:
		flaw("X-Upper", "1")
	case 3:
		flaw("connection", "close")
	case 4:
		flaw(":path", "/late")
	case 5:
		fields[0].Value = "GET"
	case 6:
		fields[4].Value = "text/html"
	case 7:
		fields = slices.Delete(fields, 3, 4) // the authority
	case 8:
		if _, method, _ := strings.Cut(path[1:], "/"); method == "Unary" || method == "Stream" {
			flaw("grpc-encoding", "zz")
		}
	case 9, 10, 11:
		flaw("grpc-encoding", "gzip")
		coded = true
	case 12:
		flaw("grpc-timeout", "99H")
	case 13:
		fields[4].Value = "application/grpc+proto"
	}
	return fields, coded
}

// makeBody makes some messages, the last of which may have a flaw.
func makeBody(rnd *rand.Rand, coded, one bool) (b []byte) {
	n, flaw := rnd.IntN(6), rnd.IntN(12)
	if one { // a flaw that is not the number of messages takes the place of the one
		switch {
		case flaw < 5:
			n = 0
		case rnd.IntN(5) > 0:
			n = 1
		}
	}
	for range n {
		text := strings.Repeat("m", rnd.IntN(1+rnd.IntN(900)))
		if coded && rnd.IntN(2) == 0 {
			b = append(b, zipped(text)...)
		} else {
			b = append(b, value(text)...)
		}
	}
	switch flaw {
	case 0:
		b = append(b, raw.Prefix(false, 1001+rnd.Uint32N(1<<31))...)
		b = append(b, make([]byte, rnd.IntN(2000))...)
	case 1:
		b = append(b, make([]byte, 1+rnd.IntN(4))...) // half a prefix
	case 2:
		b = append(b, raw.Prefix(false, 500)...)
		b = append(b, make([]byte, rnd.IntN(499))...)
	case 3:
		b = append(b, 2+byte(rnd.IntN(250)), 0, 0, 0, 0)
	case 4:
		if coded {
			b = append(b, zipped(strings.Repeat("z", 1001))...)
		} else {
			b = append(b, raw.Prefix(true, 0)...)
		}
	}
	return b
}

package watch

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/mvcc"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the transcripts in testdata")

// TestTranscripts runs the scripts of testdata. A line that starts with a word is a command; the
// lines after it, indented, are what it answers. After every command but those of the store, the
// stream is taken until it is empty, unless it is held.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			s := newScript()
			var out strings.Builder
			for line := range strings.Lines(string(data)) {
				if strings.HasPrefix(line, "  ") {
					continue
				}
				out.WriteString(line)
				if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
					continue
				}
				out.WriteString(s.run(t, strings.Fields(line)))
			}
			if out.String() == string(data) {
				return
			}
			if !*rewrite {
				t.Fatalf("got\n%s", out.String())
			}
			if err := os.WriteFile(f, []byte(out.String()), 0o666); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// script is the state of one transcript: a store, a hub, one stream.
type script struct {
	m       *model
	clk     *clock.Manual
	opts    Options
	h       *Hub
	s       *Stream
	pending []mvcc.Event
	hold    bool
	wakes   int
}

func newScript() *script {
	c := &script{m: newModel(), clk: clock.NewManual(time.Unix(0, 0))}
	c.opts.ProgressInterval = func() time.Duration { return time.Minute }
	return c
}

// open makes the hub at the first command that needs it.
func (c *script) open() {
	if c.h != nil {
		return
	}
	c.h = NewHub(c.m, c.clk, c.opts)
	c.reopen()
}

func (c *script) reopen() {
	c.s = c.h.Open(func() cairn.Header { return cairn.Header{RaftTerm: 1} }, func() { c.wakes++ })
}

func (c *script) run(t *testing.T, args []string) string {
	switch args[0] {
	case "limits":
		c.opts.StreamBytes, c.opts.ResponseBytes = number(t, args[1]), number(t, args[2])
		return ""
	case "txn": // one transaction and its Publish: k=v puts, -k deletes
		c.open()
		c.commit(args[1:])
		c.publish()
	case "commit": // the transaction alone
		c.open()
		c.commit(args[1:])
		return ""
	case "publish":
		c.publish()
	case "compact":
		c.m.compactTo(int64(number(t, args[1])))
		return ""
	case "damage": // reads of the revision fail
		c.m.failAt, c.m.fail = int64(number(t, args[1])), cairn.ErrDamaged
		return ""
	case "heal":
		c.m.fail = nil
		return ""
	case "create":
		c.open()
		c.s.Create(parseCreate(t, args[1:]))
	case "cancel":
		c.s.Cancel(int64(number(t, args[1])))
	case "progress":
		c.s.Progress()
	case "tick":
		c.clk.Advance(time.Minute)
		c.h.Tick(c.clk.Now())
	case "step":
		for c.h.Step() {
		}
	case "close":
		c.s.Close()
		out := c.take()
		c.reopen()
		return out
	case "hold", "release":
		c.hold = args[0] == "hold"
	case "stats":
		return fmt.Sprintf("  %+v\n", c.h.Stats())
	default:
		t.Fatalf("unknown command %q", args[0])
	}
	if c.hold {
		return ""
	}
	return c.take()
}

func number(t *testing.T, s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (c *script) commit(args []string) {
	var ws []write
	for _, a := range args {
		k, v, put := strings.Cut(a, "=")
		ws = append(ws, write{key: strings.TrimPrefix(k, "-"), value: v, delete: !put})
	}
	c.pending = append(c.pending, c.m.commit(ws...)...)
}

func (c *script) publish() {
	c.h.Publish(c.m.Rev(), c.pending)
	c.pending = nil
}

func parseCreate(t *testing.T, args []string) (r CreateRequest) {
	for _, a := range args {
		k, v, _ := strings.Cut(a, "=")
		v = strings.ReplaceAll(v, "\\0", "\x00")
		switch k {
		case "key":
			r.Key = []byte(v)
		case "end":
			r.End = []byte(v)
		case "rev":
			r.StartRevision = int64(number(t, v))
		case "id":
			r.ID = int64(number(t, v))
		case "prev":
			r.PrevKV = true
		case "progress":
			r.Progress = true
		case "fragment":
			r.Fragment = true
		case "noput":
			r.NoPut = true
		case "nodelete":
			r.NoDelete = true
		default:
			t.Fatalf("unknown word %q", a)
		}
	}
	return r
}

func (c *script) take() string {
	var out strings.Builder
	for {
		msgs := take(c.s, 1<<20)
		if len(msgs) == 0 {
			break
		}
		if c.wakes == 0 {
			out.WriteString("  not woken!\n")
		}
		for _, m := range msgs {
			var r pb.WatchResponse
			if err := proto.Unmarshal(m, &r); err != nil {
				return err.Error()
			}
			out.WriteString("  " + describe(&r) + "\n")
		}
	}
	c.wakes = 0
	return out.String()
}

// describe writes a response in one line: all fields that are set.
func describe(r *pb.WatchResponse) string {
	var b strings.Builder
	fmt.Fprintf(&b, "id %d header %d", r.WatchId, r.Header.Revision)
	if r.Created {
		b.WriteString(" created")
	}
	if r.Canceled {
		b.WriteString(" canceled")
	}
	if r.CompactRevision != 0 {
		fmt.Fprintf(&b, " compact %d", r.CompactRevision)
	}
	if r.CancelReason != "" {
		fmt.Fprintf(&b, " reason %q", r.CancelReason)
	}
	if r.Fragment {
		b.WriteString(" fragment")
	}
	for _, ev := range r.Events {
		b.WriteString(", ")
		if ev.Type == mvccpb.Event_DELETE {
			b.WriteString("delete ")
		}
		b.WriteString(describeKV(ev.Kv))
		if ev.PrevKv != nil {
			b.WriteString(" was " + describeKV(ev.PrevKv))
		}
	}
	return b.String()
}

func describeKV(kv *mvccpb.KeyValue) string {
	value := string(kv.Value)
	if len(value) > 12 {
		value = fmt.Sprintf("%s...%d", value[:4], len(value))
	}
	s := fmt.Sprintf("%s=%s@%d", kv.Key, value, kv.ModRevision)
	if kv.Version != 0 {
		s += fmt.Sprintf(" (created %d, version %d)", kv.CreateRevision, kv.Version)
	}
	return s
}

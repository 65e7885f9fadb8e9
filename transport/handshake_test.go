package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// TestRefusals: what the listener says to whom it does not let in.
func TestRefusals(t *testing.T) {
	b := newMember(t, 2, nil)
	b.gone[9] = true
	b.serve("http", "")
	for _, c := range []struct {
		name    string
		from    uint64
		headers map[string]string
		status  int
		text    string
	}{
		{"another cluster", 3, map[string]string{headerCluster: "77"}, 412, "cluster ID mismatch"},
		{"no cluster", 3, map[string]string{headerCluster: ""}, 412, "cluster ID mismatch"},
		{"removed", 9, nil, 410, "permanently removed"},
		{"another member meant", 4, map[string]string{headerTo: "5"}, 412, "another member"},
		{"no sender", 4, map[string]string{headerFrom: "zz"}, 412, "another member"},
		{"itself", 2, nil, 412, "another member"},
		{"nobody", 0, nil, 412, "another member"},
		{"newer level", 5, map[string]string{headerLevel: "3-4"}, 412, "no common protocol level"},
		{"no level", 6, map[string]string{headerLevel: "x"}, 412, "no common protocol level"},
		{"no upgrade", 7, map[string]string{"Upgrade": "h2c"}, 426, "cairn-raft"},
		{"a good one", 8, map[string]string{headerLevel: "1-9"}, 101, ""},
	} {
		for range 2 {
			p, status, text := dialRaw(t, b, c.from, fast, c.headers)
			if status != c.status || !strings.Contains(text, c.text) {
				t.Errorf("%s: %d %q, want %d %q", c.name, status, text, c.status, c.text)
			}
			_ = p.Close()
		}
	}
	if n := b.log.count("level=WARN msg=\"request cluster ID mismatch\""); n != 1 {
		t.Errorf("%d lines about the other cluster, want one for two attempts:\n%s", n, b.log)
	}
	for _, path := range []string{Prefix + "other", Prefix, Prefix + "fast/x"} {
		resp, err := http.Get(b.url + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
}

// TestRefused: what the dialling side makes of refusals, and of answers that are none.
func TestRefused(t *testing.T) {
	other := newMember(t, 2, func(o *Options) { o.Cluster = 0xc2 })
	other.serve("http", "")
	wrong := newMember(t, 3, nil)
	wrong.serve("http", "")
	head := "HTTP/1.1 101 Switching Protocols\r\n"
	ids := func(cluster, from, to, level string) string {
		return fmt.Sprintf("%s%s: %s\r\n%s: %s\r\n%s: %s\r\n%s: %s\r\n\r\n", head, headerCluster,
			cluster, headerFrom, from, headerTo, to, headerLevel, level)
	}
	fake := func(text string) string {
		return fakePeer(t, func(conn net.Conn) { _, _ = io.WriteString(conn, text) })
	}
	for name, c := range map[string]struct{ url, log string }{
		"another cluster": {other.url, "request sent was ignored due to cluster ID mismatch"},
		"another member":  {wrong.url, "another member was expected here"},
		"garbage":         {fake("\x00\x01\x02garbage\r\n\r\n"), "no answer to the handshake"},
		"nothing":         {fake(""), "no answer to the handshake"},
		"no end": {fake(head + strings.Repeat("X: y\r\n", maxAnswerBytes)),
			"no answer to the handshake"},
		"bare 101":      {fake(head + "\r\n"), "cluster ID mismatch"},
		"wrong cluster": {fake(ids("c2", "2", "1", "2-2")), "cluster ID mismatch"},
		"wrong sender":  {fake(ids("c1", "4", "1", "2-2")), "4 answered for 2"},
		"wrong level":   {fake(ids("c1", "2", "1", "1-1")), "no common protocol level"},
		"404": {fake("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope"),
			"404 Not Found: nope"},
		"410 of a stranger": {fake("HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"), "410 Gone"},
		"no address":        {"http://", "names no address"},
		"no scheme":         {"ftp://127.0.0.1:1", "the scheme must be"},
		"no certificates":   {"https://" + wrong.addr(), "--peer-cert-file"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newMember(t, 1, nil)
			a.SetPeers(map[uint64][]string{2: {c.url}})
			eventually(t, "it is told: "+c.log, func() bool { return a.log.count(c.log) > 0 })
			eventually(t, "tried again", func() bool { return a.Stats()[0].SendFailures > 4 })
			if !a.ActiveSince(2).IsZero() || a.removed != 0 || a.log.count("level=WARN") != 1 {
				t.Errorf("active since %v, removed %d, log:\n%s", a.ActiveSince(2), a.removed,
					a.log)
			}
		})
	}
}

// TestSecondURL: a URL that does not work does not keep from the next one.
func TestSecondURL(t *testing.T) {
	a, b := newMember(t, 1, nil), newMember(t, 2, nil)
	b.serve("http", "")
	a.SetPeers(map[uint64][]string{2: {"http://127.0.0.1:1", b.url}})
	eventually(t, "active", func() bool { return !a.ActiveSince(2).IsZero() })
}

// TestRemoved: a member that was removed is told once.
func TestRemoved(t *testing.T) {
	a, b := newMember(t, 1, nil), newMember(t, 2, nil)
	a.serve("http", "")
	b.serve("http", "")
	connect(t, a, b)
	b.mu.Lock()
	b.gone[1] = true
	b.mu.Unlock()
	b.SetPeers(nil)
	removed := func() int {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.removed
	}
	eventually(t, "told", func() bool { return removed() == 1 })
	failures := a.Stats()[0].SendFailures
	eventually(t, "tried again", func() bool { return a.Stats()[0].SendFailures > failures+2 })
	if removed() != 1 || a.log.count("was removed from the cluster") != 1 {
		t.Errorf("told %d times:\n%s", removed(), a.log)
	}
}

// TestDamagedStream: what came before the damage is delivered, nothing after it; the stream is
// closed with a line that says why.
func TestDamagedStream(t *testing.T) {
	for name, c := range map[string]struct{ bad, log string }{
		"head":     {strings.Repeat("\xff", frameHead), "damaged frame: a checksum of"},
		"checksum": {string(headOf(1)) + "x", "damaged frame: a checksum of"},
		"length":   {string(headOf(1<<32 - 1)), "damaged frame: a length of 4294967295"},
		"payload":  {"", "damaged frame: 5000 messages"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newMember(t, 2, nil)
			b.serve("http", "")
			p, _, _ := dialRaw(t, b, 1, bulk, nil)
			bad := []byte(c.bad)
			if bad == nil || len(bad) == 0 {
				bad = append(make([]byte, frameHead), 0x88, 0x27)
				sealFrame(bad, 0)
			}
			p.write(append(append(frame(t, message(1, 2, 1, 10)), bad...),
				frame(t, message(1, 2, 2, 10))...))
			p.ended()
			eventually(t, "it is told", func() bool { return b.log.count(c.log) == 1 })
			if got := b.messages(); len(got) != 1 || got[0].GetIndex() != 1 {
				t.Errorf("delivered %v", got)
			}
			if n := b.log.count("what it sent is damaged"); n != 1 {
				t.Errorf("log:\n%s", b.log)
			}
		})
	}
	b := newMember(t, 2, nil)
	b.serve("http", "")
	conn, err := net.Dial("tcp", b.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "\x16\x03garbage\r\n\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	(&rawPeer{t, conn}).ended()
}

// TestForeignMessages: raft sees no message that is not from the stream's sender and for this
// member, and none of its own kinds.
func TestForeignMessages(t *testing.T) {
	b := newMember(t, 2, nil)
	b.serve("http", "")
	p, _, _ := dialRaw(t, b, 1, fast, nil)
	local, empty := message(1, 2, 3, 0), message(1, 2, 4, 0)
	local.Type, empty.Type = raftpb.MsgStorageAppendResp.Enum(), raftpb.MsgSnap.Enum()
	p.write(frame(t, message(3, 2, 1, 0), message(1, 3, 2, 0), local, empty, message(1, 2, 5, 0)))
	eventually(t, "arrived", func() bool { return len(b.messages()) > 0 })
	if got := b.messages(); len(got) != 1 || got[0].GetIndex() != 5 {
		t.Errorf("delivered %v", got)
	}
	// A message before the handshake is answered belongs to no stream.
	p.write([]byte("x"))
}

// TestReplacedStream: a second stream of a peer takes the first one's place, and nothing of it is
// delivered before the first one's delivery has ended.
func TestReplacedStream(t *testing.T) {
	var running, most atomic.Int32
	late := make(chan struct{}, 1)
	b := newMember(t, 2, func(o *Options) {
		deliver := o.Deliver
		o.Deliver = func(from uint64, messages []*raftpb.Message) {
			most.Store(max(most.Load(), running.Add(1)))
			if messages[0].GetIndex() == 1 {
				select {
				case <-late: // the second stream did not wait
				case <-time.After(100 * time.Millisecond):
				}
			} else {
				select {
				case late <- struct{}{}:
				default:
				}
			}
			deliver(from, messages)
			running.Add(-1)
		}
	})
	b.serve("http", "")
	for i := range uint64(20) {
		p, status, _ := dialRaw(t, b, 1, fast, nil)
		if status != http.StatusSwitchingProtocols {
			t.Fatal(status)
		}
		p.write(frame(t, message(1, 2, 10*i+1, 0)))
		p.write(frame(t, message(1, 2, 10*i+2, 0)))
		if i == 0 {
			eventually(t, "the first is delivered", func() bool { return running.Load() == 1 })
		}
	}
	eventually(t, "arrived", func() bool {
		got := b.messages()
		return len(got) > 0 && got[len(got)-1].GetIndex() == 192
	})
	checkOrder(t, b.messages())
	if most.Load() != 1 {
		t.Errorf("%d deliveries at once", most.Load())
	}
	b.Transport.mu.Lock()
	n := len(b.incoming)
	b.Transport.mu.Unlock()
	if n != 1 {
		t.Errorf("%d streams", n)
	}
}

// TestManyStreams: their number is bounded.
func TestManyStreams(t *testing.T) {
	b := newMember(t, 2, nil)
	b.serve("http", "")
	for i := range uint64(maxIncoming) {
		if _, status, text := dialRaw(t, b, i+10, fast, nil); status != 101 {
			t.Fatalf("stream %d: %d %s", i, status, text)
		}
	}
	if _, status, _ := dialRaw(t, b, 5, fast, nil); status != http.StatusServiceUnavailable {
		t.Errorf("one too many: %d", status)
	}
	if _, status, _ := dialRaw(t, b, 10, fast, nil); status != 101 {
		t.Errorf("one that is there may come again: %d", status)
	}
	for i := range uint64(2 * maxRefusals) {
		dialRaw(t, b, i+1000, fast, map[string]string{headerTo: "3"})
	}
	if n := b.log.count("refused a stream"); n != 2*maxRefusals ||
		b.log.count("level=WARN msg=\"refused a stream") != maxRefusals {
		t.Errorf("%d lines", n)
	}
}

// TestRequests: plain requests over each kind of URL.
func TestRequests(t *testing.T) {
	ca := newAuthority(t)
	for _, scheme := range []string{"http", "https", "unix", "unixs"} {
		t.Run(scheme, func(t *testing.T) {
			server, client := ca.member()
			a := newMember(t, 1, func(o *Options) {
				if strings.HasSuffix(scheme, "s") {
					o.TLS = tlsOf(client)
				}
			})
			b := newMember(t, 2, nil)
			b.tls = server
			var got *http.Request
			var body []byte
			var mu sync.Mutex
			b.other = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				got = r
				body, _ = io.ReadAll(r.Body)
				w.WriteHeader(http.StatusTeapot)
				_, _ = io.WriteString(w, "answer")
			})
			b.serve(scheme, "")
			a.SetPeers(map[uint64][]string{2: {"http://127.0.0.1:1", b.url}})
			resp, err := a.Do(t.Context(), 2, Request{Method: "POST", Path: "/x?y=1",
				Header: http.Header{"A": {"b"}}, Body: []byte("question")})
			if err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || string(answer) != "answer" || resp.StatusCode != http.StatusTeapot {
				t.Errorf("%s %q, %v", resp.Status, answer, err)
			}
			mu.Lock()
			if string(body) != "question" || got.URL.String() != "/x?y=1" || got.Method != "POST" ||
				got.Header.Get("A") != "b" || got.Header.Get(headerFrom) != "1" ||
				got.Header.Get(headerTo) != "2" || got.Header.Get(headerCluster) != "c1" ||
				got.Header.Get(headerVersion) != "3.7.0" {
				t.Errorf("%+v, body %q", got, body)
			}
			mu.Unlock()
			resp, err = a.Get(t.Context(), []string{b.url}, "/members")
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			mu.Lock()
			if got.URL.Path != "/members" || got.Method != "GET" || got.Header.Get(headerTo) != "" {
				t.Errorf("%+v", got)
			}
			mu.Unlock()
		})
	}
}

func TestRequestErrors(t *testing.T) {
	a := newMember(t, 1, nil)
	if _, err := a.Do(t.Context(), 7, Request{}); err == nil ||
		!strings.Contains(err.Error(), "7 is no known peer") {
		t.Errorf("to whom is no peer: %v", err)
	}
	if _, err := a.Get(t.Context(), nil, "/"); err == nil {
		t.Error("nowhere")
	}
	var hits [2]atomic.Int32
	var urls []string
	for i := range hits { // each closes without an answer
		urls = append(urls, fakePeer(t, func(net.Conn) { hits[i].Add(1) }))
	}
	a.SetPeers(map[uint64][]string{2: urls})
	first, second := hits[0].Load(), hits[1].Load()
	b := newMember(t, 3, func(o *Options) { o.Cluster = 0 }) // without peers, as at the start
	if _, err := b.Get(t.Context(), urls, "/x"); err == nil {
		t.Error("an answer from whom gives none")
	}
	eventually(t, "GET goes to both", func() bool {
		return hits[0].Load() > first && hits[1].Load() > second
	})
	b.SetPeers(map[uint64][]string{2: {"http://127.0.0.1:1"}})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err := b.Do(ctx, 2, Request{Method: "POST", Path: "/x"})
	if early := (dialError{}); !errors.As(err, &early) {
		t.Errorf("%v is no dialError", err)
	}
}

// TestPostOnce: what may have been done at one URL is not done again at another.
func TestPostOnce(t *testing.T) {
	var posts atomic.Int32
	count := func(conn net.Conn) { posts.Add(1) }
	a := newMember(t, 1, nil)
	urls := []string{fakePeer(t, count), fakePeer(t, count)}
	if _, err := a.try(t.Context(), urls, 2, Request{Method: "POST", Path: "/x"}); err == nil {
		t.Error("an answer from whom gives none")
	}
	if n := posts.Load(); n != 1 {
		t.Errorf("%d posts", n)
	}
}

package peer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/member"
	"github.com/cairnkv/cairn/transport"
	"github.com/google/go-cmp/cmp"
)

// fake is a member that answers what it is told to.
type fake struct {
	members  []member.Member
	err      error
	snapshot string
	cut      bool          // the snapshot breaks off
	slow     time.Duration // a renewal takes so long
	cause    error         // why it was to end before
	sent     chan error    // if there, how sending one has ended
	asked    []any
}

func (f *fake) ClusterID() uint64        { return 0xabc }
func (f *fake) Members() []member.Member { return f.members }

func (f *fake) Renew(ctx context.Context, ids []cairn.LeaseID) ([]int64, error) {
	if f.slow > 0 {
		select {
		case <-ctx.Done():
		case <-time.After(f.slow):
		}
		f.cause = context.Cause(ctx)
	}
	f.asked = append(f.asked, ids)
	ttls := make([]int64, len(ids))
	for i, id := range ids {
		ttls[i] = id % 100
	}
	return ttls, f.err
}

func (f *fake) Lease(_ context.Context, id cairn.LeaseID, keys bool) (Lease, error) {
	l := Lease{TTL: id, Granted: 2 * id}
	if keys {
		l.Keys = [][]byte{[]byte("a\x00"), {0xff}}
	}
	return l, f.err
}

func (f *fake) Promote(_ context.Context, id cairn.MemberID) ([]member.Member, error) {
	f.asked = append(f.asked, id)
	return f.members, f.err
}

func (f *fake) HandOver(_ context.Context, to cairn.MemberID) error {
	f.asked = append(f.asked, to)
	return f.err
}

func (f *fake) HashKV(_ context.Context, rev int64) (HashKV, error) {
	return HashKV{Member: 7, Hash: 0xffffffff, HashRev: rev, CompactRev: -1, CurrentRev: 9}, f.err
}

func (f *fake) SendSnapshot(
	_ context.Context, _ cairn.MemberID, w io.Writer, request []byte,
) (err error) {
	if f.sent != nil {
		defer func() { f.sent <- err }()
	}
	if f.err != nil && !f.cut {
		return f.err
	}
	if _, err := w.Write([]byte(f.snapshot + string(request))); err != nil {
		return err
	}
	return f.err
}

// ask makes a client of a door with the fake behind it.
func ask(t *testing.T, f *fake, cluster uint64) (Client, string) {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	server := httptest.NewServer(Handler(f, clock.Real(), quiet))
	t.Cleanup(server.Close)
	tr := transport.New(transport.Options{
		Cluster: cluster, Local: 1, Version: "3.7.3", Clock: clock.Real(), Log: quiet,
		IsRemoved: func(uint64) bool { return false }, Unreachable: func(uint64) {},
	})
	t.Cleanup(tr.Close)
	tr.SetPeers(map[uint64][]string{2: {server.URL}})
	return Client{tr}, server.URL
}

// What the client gets is what the backend gave.
func TestAnswers(t *testing.T) {
	f := &fake{snapshot: "state", members: []member.Member{
		{ID: 1<<63 + 5, Name: "n", PeerURLs: []string{"http://a:1"},
			ClientURLs: []string{"http://c"}, IsLearner: true},
	}}
	c, url := ask(t, f, 0xabc)
	ctx := t.Context()
	ttls, err := c.Renew(ctx, 2, []cairn.LeaseID{5, -1, 1<<62 + 7})
	if d := cmp.Diff([]int64{5, -1, (1<<62 + 7) % 100}, ttls); d != "" || err != nil {
		t.Errorf("renew: %v %s", err, d)
	}
	l, err := c.Lease(ctx, 2, 21, true)
	want := Lease{TTL: 21, Granted: 42, Keys: [][]byte{[]byte("a\x00"), {0xff}}}
	if d := cmp.Diff(want, l); d != "" || err != nil {
		t.Errorf("lease: %v %s", err, d)
	}
	all, err := c.Promote(ctx, 2, 1<<63+5)
	if d := cmp.Diff(f.members, all); d != "" || err != nil {
		t.Errorf("promote: %v %s", err, d)
	}
	h, err := c.HashKV(ctx, 2, 4)
	if err != nil || h != (HashKV{7, 0xffffffff, 4, -1, 9}) {
		t.Errorf("hash: %+v, %v", h, err)
	}
	if err := c.HandOver(ctx, 2, 0); err != nil {
		t.Errorf("hand over: %v", err)
	}
	r, err := c.Snapshot(ctx, 2, []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil || string(b) != "state{}" {
		t.Errorf("snapshot: %q, %v", b, err)
	}
	cluster, all, err := Members(ctx, c.Doer.(*transport.Transport), []string{url})
	if d := cmp.Diff(f.members, all); d != "" || err != nil || cluster != 0xabc {
		t.Errorf("members: cluster %x, %v %s", cluster, err, d)
	}
}

// The API's errors arrive as themselves, others with their text.
func TestErrors(t *testing.T) {
	for _, want := range []error{cairn.ErrNotLeader, cairn.ErrLeaseNotFound,
		cairn.ErrLearnerNotReady, cairn.ErrTimeout, cairn.ErrStopped} {
		c, _ := ask(t, &fake{err: want}, 0xabc)
		_, renew := c.Renew(t.Context(), 2, []cairn.LeaseID{1})
		_, promote := c.Promote(t.Context(), 2, 1)
		_, snapshot := c.Snapshot(t.Context(), 2, nil)
		for _, got := range []error{renew, promote, snapshot, c.HandOver(t.Context(), 2, 0)} {
			if !errors.Is(got, want) {
				t.Errorf("%v arrived as %v", want, got)
			}
		}
	}
	c, _ := ask(t, &fake{err: errors.New("the disk is gone")}, 0xabc)
	if _, err := c.HashKV(t.Context(), 2, 0); err == nil ||
		!strings.Contains(err.Error(), "the disk is gone") {
		t.Errorf("another error: %v", err)
	}
	c, _ = ask(t, &fake{}, 0xdef)
	if _, err := c.HashKV(t.Context(), 2, 0); err == nil ||
		!strings.Contains(err.Error(), "cluster ID mismatch") {
		t.Errorf("a member of another cluster: %v", err)
	}
}

// A snapshot that breaks off does not look like a whole one.
func TestSnapshotCut(t *testing.T) {
	f := &fake{snapshot: strings.Repeat("x", 1<<20), cut: true, err: errors.New("cut")}
	c, _ := ask(t, f, 0xabc)
	r, err := c.Snapshot(t.Context(), 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); err == nil {
		t.Error("the end of a snapshot that broke off was taken for its end")
	}
}

// Requests that are none are refused.
func TestBadRequests(t *testing.T) {
	_, url := ask(t, &fake{}, 0xabc)
	for _, r := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/cairn/leases/renew", "", http.StatusBadRequest},
		{"POST", "/cairn/leases/renew", "1234567", http.StatusBadRequest},
		{"POST", "/cairn/leases/renew", strings.Repeat("x", 8*MaxRenewals+8),
			http.StatusBadRequest},
		{"POST", "/cairn/leases/ttl", "{", http.StatusBadRequest},
		{"POST", "/members/hashkv", "[]", http.StatusBadRequest},
		{"POST", "/cairn/snapshot", strings.Repeat("x", maxBodyBytes+1), http.StatusBadRequest},
		{"POST", "/members/promote/x", "", http.StatusConflict},
		{"POST", "/cairn/leader/transfer/-1", "", http.StatusConflict},
		{"GET", "/cairn/snapshot", "", http.StatusMethodNotAllowed},
		{"GET", "/nothing", "", http.StatusNotFound},
	} {
		req, err := http.NewRequestWithContext(t.Context(), r.method, url+r.path,
			bytes.NewBufferString(r.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil || resp.StatusCode != r.status {
			t.Errorf("%s %s: %s, want %d (%v)", r.method, r.path, resp.Status, r.status, err)
		}
	}
}

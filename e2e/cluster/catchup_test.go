package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairnkv/cairn/e2e"
)

const (
	// The writes that a member misses come from bulkClients with bulkDepth requests at once each;
	// they go to bulkKeys keys, and are compacted compactions times on the way.
	bulkClients, bulkDepth, bulkKeys, compactions = 4, 32, 5000, 4

	// stillKeys of stillBytes are written once, by clients that have stillOps of them in a
	// transaction: what a member that was away has already.
	stillKeys, stillBytes, stillOps = 20_000, 200, 100

	// steadyClients go on while a member catches up, and catchUpTimeout bounds how long it takes.
	steadyClients  = 4
	catchUpTimeout = 3 * time.Minute

	// damagedBytes are flipped in the middle of a file.
	damagedBytes = 4096
)

// bulk puts n small values, many at once, with compactions in between.
func bulk(ctx context.Context, clients []*clientv3.Client, n int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var tasks sync.WaitGroup
	for _, client := range clients {
		for range bulkDepth {
			tasks.Go(func() {
				for i := next.Add(1); i <= int64(n) && ctx.Err() == nil; i = next.Add(1) {
					if err := bulkPut(ctx, client, int(i), n); err != nil {
						cancel(fmt.Errorf("write %d: %w", i, err))
					}
				}
			})
		}
	}
	tasks.Wait()
	return context.Cause(ctx)
}

// still writes the keys that do not change any more.
func still(ctx context.Context, client *clientv3.Client) error {
	for i := 0; i < stillKeys; i += stillOps {
		var ops []clientv3.Op
		for k := range stillOps {
			value := fmt.Sprintf("%0*d", stillBytes, i+k)
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("still/%d", i+k), value))
		}
		if _, err := client.Txn(ctx).Then(ops...).Commit(); err != nil {
			return err
		}
	}
	return nil
}

// bulkPut is one of n writes; some compact as well.
func bulkPut(ctx context.Context, client *clientv3.Client, i, n int) error {
	ctx, cancel := context.WithTimeout(ctx, steadyTimeout)
	defer cancel()
	key := fmt.Sprintf("bulk/%d", i%bulkKeys)
	value := fmt.Sprintf("value %d of %d", i, n)
	resp, err := client.Put(ctx, key, value)
	if err != nil { // the member that was asked may be the one that was taken away
		resp, err = client.Put(ctx, key, value)
	}
	if err == nil && i%(n/compactions) == 0 {
		_, err = client.Compact(ctx, resp.Header.Revision)
		if err != nil && strings.Contains(err.Error(), "has been compacted") {
			err = nil // by one that came later and was done earlier
		}
	}
	return err
}

// absence is a way for a member to lose what the others have.
type absence struct {
	name   string
	leave  func(context.Context, *Cluster, *Member) error
	back   func(context.Context, *Cluster, *Member) error
	writes bool // the writes come while it is away
	files  bool // for servers that have what is damaged
}

func absences() []absence {
	start := func(ctx context.Context, _ *Cluster, m *Member) error { return m.Start(ctx) }
	kill := func(_ context.Context, _ *Cluster, m *Member) error { return m.Kill() }
	return []absence{
		{"away during the writes", kill, start, true, false},
		{"with a wiped disk", kill, func(ctx context.Context, c *Cluster, m *Member) error {
			return c.Replace(ctx, m)
		}, false, false},
		{"with a damaged file", func(_ context.Context, _ *Cluster, m *Member) error {
			return errors.Join(m.Stop(), damage(recordsOf(m)))
		}, start, false, true},
	}
}

// recordsOf returns the directory that holds the records of a member, which etcd does not have.
func recordsOf(m *Member) string { return filepath.Join(m.DataDir(), "revlog") }

// damage flips bytes in the middle of the largest file below a directory.
func damage(dir string) error {
	var path string
	var size int64
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > size {
			path, size = name, info.Size()
		}
		return err
	})
	if err != nil {
		return err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	// The file may be longer than what is in it.
	used := len(bytes.TrimRight(data, "\x00"))
	for i := used / 2; i < min(used, used/2+damagedBytes); i++ {
		data[i] ^= 0xff
	}
	return os.WriteFile(path, data, 0o600)
}

// TestCatchUp takes a member away, lets the others go on until their logs no longer reach back to
// it, and lets it catch up under load; the same with its disk wiped, and with a file damaged.
func TestCatchUp(t *testing.T) {
	t.Parallel()
	c := newCluster(t, *flagMembers, "--snapshot-count=500", "--snapshot-catchup-entries=100")
	ctx := t.Context()
	var loaders, steady []*clientv3.Client
	for i := range bulkClients + steadyClients {
		client, err := e2e.Dial(c.Endpoints()...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		if i < bulkClients {
			loaders = append(loaders, client)
		} else {
			steady = append(steady, client)
		}
	}
	if err := still(ctx, loaders[0]); err != nil {
		t.Fatal(err)
	}
	rng, _ := newRandom(t)
	var came []int64
	for _, a := range absences() {
		scene, err := NewScene(ctx, c, rng)
		if err != nil {
			t.Fatal(err)
		}
		m := scene.Followers[0]
		if _, err := os.Stat(recordsOf(m)); a.files && errors.Is(err, fs.ErrNotExist) {
			t.Logf("%-24s this server has no %s", a.name, recordsOf(m))
			continue
		}
		if !a.writes {
			if err := bulk(ctx, loaders, *flagWrites); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.leave(ctx, c, m); err != nil {
			t.Fatalf("%s: %v", a.name, err)
		}
		if a.writes {
			if err := bulk(ctx, loaders, *flagWrites); err != nil {
				t.Fatal(err)
			}
		}
		came = append(came, catchUp(t, c, m, a, steady))
	}
	if _, err := os.Stat(recordsOf(c.Members()[0])); err != nil {
		return // another server, which sends all in any case
	}
	// What a member has, also in files next to a damaged one, is not sent again.
	if away, all, damaged := came[0], came[1], came[2]; away > all/2 || damaged > all/2 {
		t.Errorf("%d bytes came to a member that was away and %d to one with a damaged file; "+
			"all of it is %d", away, damaged, all)
	}
}

// catchUp brings a member back under load and measures; it returns the bytes that came to it.
func catchUp(
	t *testing.T, c *Cluster, m *Member, a absence, clients []*clientv3.Client,
) (bytes int64) {
	t.Helper()
	ctx := t.Context()
	s := StartSteady(ctx, clients...)
	before, err := c.Sent(ctx)
	if err != nil {
		t.Fatal(err)
	}
	passed := c.Mesh.Passed("", m.Name)
	begin := time.Now()
	if err := a.back(ctx, c, m); err != nil {
		t.Fatalf("%s: %v", a.name, err)
	}
	if err := Retry(ctx, catchUpTimeout, m.Get); err != nil {
		t.Fatalf("%s: %v", a.name, err)
	}
	took, longest := time.Since(begin), s.Longest()
	passed = c.Mesh.Passed("", m.Name) - passed
	after, err := c.Sent(ctx)
	if err != nil {
		t.Fatal(err)
	}
	puts, retried, failed, err := s.Stop(ctx, clients[0])
	if err != nil {
		t.Errorf("%s: %v", a.name, err)
	}
	if len(failed) > 0 {
		t.Errorf("%s: %d requests needed more than one retry: %v", a.name, len(failed), failed[0])
	}
	resp, err := clients[0].Get(ctx, "health")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SameHash(ctx, resp.Header.Revision); err != nil {
		t.Errorf("%s: %v", a.name, err)
	}
	t.Logf("%-24s %d writes: well after %v; %d bytes came to it, %d of snapshots were sent; "+
		"%d puts meanwhile, %d with a retry, the longest %v", a.name, *flagWrites,
		took.Round(time.Millisecond), passed, after-before, puts, retried,
		longest.Round(time.Millisecond))
	return passed
}

// TestDamage looks at what damage does to files.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	large := append(bytes.Repeat([]byte{7}, 3*damagedBytes), make([]byte, damagedBytes)...)
	for name, data := range map[string][]byte{"large": large, "small": {7}} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := damage(dir); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"large": damagedBytes, "small": 0} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := bytes.Count(data, []byte{0xf8}); got != want {
			t.Errorf("%d bytes of %s were flipped, want %d", got, name, want)
		}
	}
}

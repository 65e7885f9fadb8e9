package utl

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairnkv/cairn/vfs"
)

var (
	etcdDir = flag.String("etcd", "", "with -update: directory with etcdutl 3.7.3, to record from")
	seed    = flag.Uint64("seed", 1, "of the random histories")
)

// samplePairs is the number of records in the sample.
const samplePairs = 24

// change is one record of a history.
type change struct {
	rev    revision
	delete bool
	key    string
	value  []byte // encoded
}

func (c change) bucketKey() []byte {
	k := binary.BigEndian.AppendUint64(nil, uint64(c.rev.main))
	k = append(k, '_')
	k = binary.BigEndian.AppendUint64(k, uint64(c.rev.sub))
	if c.delete {
		k = append(k, 't')
	}
	return k
}

// history is what a database holds.
type history struct {
	changes             []change
	finished, scheduled int64 // -1 for none
}

// randomHistory makes changes of few keys, and compacts some of them away as etcd does.
func randomHistory(r *rand.Rand) history {
	h := history{finished: -1, scheduled: -1}
	alive := map[string]bool{}
	main := int64(1)
	for range r.IntN(60) {
		main++
		for sub := range int64(1 + r.IntN(3)) {
			key := fmt.Sprintf("%c%d", 'a'+rune(sub), r.IntN(4))
			c := change{rev: revision{main, sub}, key: key}
			kv := &mvccpb.KeyValue{Key: []byte(key)}
			if alive[key] && r.IntN(3) == 0 {
				c.delete = true
			} else {
				kv.ModRevision, kv.Value = main, make([]byte, r.IntN(50))
			}
			alive[key] = !c.delete
			var err error
			if c.value, err = (proto.MarshalOptions{Deterministic: true}).Marshal(kv); err != nil {
				panic(err)
			}
			h.changes = append(h.changes, c)
		}
	}
	if main > 2 && r.IntN(4) > 0 {
		h.compact(1 + r.Int64N(main))
	}
	if rest := main - max(h.finished, 1); rest > 0 && r.IntN(3) == 0 {
		h.scheduled = max(h.finished, 1) + r.Int64N(rest) // asked for, not begun
	}
	return h
}

// compact drops what a finished compaction at rev has dropped: records up to it that a later one up
// to it follows for the same key, and tombstones before it.
func (h *history) compact(rev int64) {
	var kept []change
	for i, c := range h.changes {
		if c.rev.main > rev || !h.followed(i, rev) && (!c.delete || c.rev.main == rev) {
			kept = append(kept, c)
		}
	}
	h.changes, h.finished, h.scheduled = kept, rev, rev
}

// followed tells whether a later change of the same key exists up to rev.
func (h *history) followed(i int, rev int64) bool {
	for _, c := range h.changes[i+1:] {
		if c.key == h.changes[i].key && c.rev.main <= rev {
			return true
		}
	}
	return false
}

// write makes a database of the history.
func (h history) write(t testing.TB, path string) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		key, err1 := tx.CreateBucket([]byte("key"))
		meta, err2 := tx.CreateBucket([]byte("meta"))
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		for name, rev := range map[string]int64{
			"finishedCompactRev": h.finished, "scheduledCompactRev": h.scheduled,
		} {
			if rev >= 0 {
				k := change{rev: revision{main: rev}}.bucketKey()
				if err := meta.Put([]byte(name), k); err != nil {
					return err
				}
			}
		}
		for _, c := range h.changes {
			if err := key.Put(c.bucketKey(), c.value); err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// hashKV is the model: slow, and straight from the definition. It looks at each record alone.
func (h history) hashKV(rev int64) (HashKV, error) {
	compacted := max(h.finished, h.scheduled)
	latest := int64(1)
	for _, c := range h.changes {
		latest = c.rev.main
	}
	latest = max(latest, compacted)
	if rev == 0 {
		rev = latest
	}
	if rev < compacted {
		return HashKV{}, errCompacted
	}
	if rev > latest {
		return HashKV{}, errFutureRev
	}
	keep := func(i int) bool {
		c := h.changes[i]
		return c.rev.main <= rev && !c.delete && !h.followed(i, rev)
	}
	any := false
	for i := range h.changes {
		any = any || keep(i)
	}
	data := []byte("key")
	for i, c := range h.changes {
		if c.rev.main > rev || c.rev.main <= compacted && any && !keep(i) ||
			c.rev.main == compacted && c.delete {
			continue
		}
		data = append(append(data, c.bucketKey()...), c.value...)
	}
	sum := crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))
	return HashKV{Hash: sum, Revision: rev, CompactRevision: compacted}, nil
}

// TestHashKVModel compares HashKV with the model on random histories.
func TestHashKVModel(t *testing.T) {
	t.Logf("replay by -seed %d", *seed)
	r := rand.New(rand.NewPCG(*seed, 0))
	dir := t.TempDir()
	for n := range 300 {
		h := randomHistory(r)
		path := filepath.Join(dir, fmt.Sprint(n))
		h.write(t, path)
		s, err := openSnapshot(vfs.OS(), path, openOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, rev := range []int64{0, 1, h.finished, h.scheduled, h.scheduled + 1,
			r.Int64N(70), r.Int64N(70), r.Int64N(70)} {
			if rev < 0 {
				continue
			}
			got, err := s.HashKV(rev)
			want, wantErr := h.hashKV(rev)
			if got != want || err != wantErr {
				t.Fatalf("history %d at %d: %+v, %v; want %+v, %v", n, rev, got, err, want, wantErr)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// recording is what etcdutl 3.7.3 said about a file.
type recording struct {
	Args   []string
	Stdout string
	Exit   int
}

// recordedRevs are hashed of each recorded history.
var recordedRevs = []int64{0, 1, 2, 5, 10, 20, 40, 41, 100}

// TestAgainstEtcdutl compares with what etcdutl answered for the sample and for random histories.
// Recording anew: go test ./cli/utl -run TestAgainstEtcdutl -update -etcd DIR
func TestAgainstEtcdutl(t *testing.T) {
	const path = "testdata/etcdutl.json"
	dir := t.TempDir()
	var cmds [][]string
	for _, form := range []string{"simple", "fields", "json", "table", "protobuf"} {
		cmds = append(cmds, []string{"snapshot", "status", sample, "-w", form},
			[]string{"hashkv", sample, "-w", form})
	}
	cmds = append(cmds, []string{"version"}, []string{"snapshot", "status"})
	r := rand.New(rand.NewPCG(7, 7)) // not from the flag: the answers are on file
	for n := range 12 {
		file := filepath.Join(dir, fmt.Sprint(n))
		randomHistory(r).write(t, file)
		for _, rev := range recordedRevs {
			cmds = append(cmds, []string{"hashkv", file, "--rev", fmt.Sprint(rev), "-w", "json"})
		}
	}
	if *update && *etcdDir != "" {
		recordEtcdutl(t, path, dir, cmds)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want []recording
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	if len(want) != len(cmds) {
		t.Fatalf("%d recordings of %d commands", len(want), len(cmds))
	}
	for i, args := range cmds {
		exit, stdout, stderr := runUtl(&fakeDir{}, "etcdutl", args...)
		if exit != want[i].Exit || stdout != want[i].Stdout {
			t.Errorf("%q: exit %d, %q, %s\nrecorded: exit %d, %q", want[i].Args, exit, stdout,
				stderr, want[i].Exit, want[i].Stdout)
		}
	}
}

// recordEtcdutl runs the commands by etcdutl, each on a copy of its file, because it writes to it.
func recordEtcdutl(t *testing.T, path, dir string, cmds [][]string) {
	var list []recording
	for _, args := range cmds {
		copied := make([]string, len(args))
		for i, a := range args {
			copied[i] = a
			if b, err := os.ReadFile(a); err == nil {
				copied[i] = filepath.Join(t.TempDir(), "db")
				if err := os.WriteFile(copied[i], b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		cmd := exec.Command(filepath.Join(*etcdDir, "etcdutl"), copied...)
		out, err := cmd.Output()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		named := make([]string, len(args))
		for i, a := range args {
			named[i] = strings.ReplaceAll(a, dir+"/", "history ")
		}
		list = append(list, recording{named, string(out), cmd.ProcessState.ExitCode()})
	}
	b, err := json.MarshalIndent(list, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

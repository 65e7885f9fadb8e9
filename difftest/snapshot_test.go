package difftest

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// utl returns the program that reads and restores snapshots for a server: etcdutl for etcd and what
// Cairn has in its place for Cairn.
func utl(t *testing.T, server string) []string {
	t.Helper()
	if server == Cairn {
		return []string{program(t, Cairn), "utl"}
	}
	return []string{program(t, Etcdutl)}
}

// fill puts a history into a server that has everything a snapshot must keep: versions, deleted
// keys, leases, a compaction.
func fill(t *testing.T, side *Side) {
	t.Helper()
	ops := []Op{{Kind: "grant", Request: &pb.LeaseGrantRequest{ID: 1001, TTL: 5000}}}
	for i := range 60 {
		put := &pb.PutRequest{
			Key: fmt.Appendf(nil, "k%02d", i%25), Value: fmt.Appendf(nil, "v%d", i),
		}
		if i%7 == 0 {
			put.Lease = 1001
		}
		ops = append(ops, Op{Kind: "put", Request: put})
	}
	ops = append(ops,
		Op{Kind: "delete", Request: &pb.DeleteRangeRequest{
			Key: []byte("k05"), RangeEnd: []byte("k08"),
		}},
		Op{Kind: "compact", Request: &pb.CompactionRequest{Revision: 30, Physical: true}},
		Op{Kind: "put", Request: &pb.PutRequest{Key: []byte("k06"), Value: []byte("again")}},
		Op{Kind: "put", Request: &pb.PutRequest{Key: []byte("big"), Value: make([]byte, 1<<20)}},
	)
	for _, op := range ops {
		if a := side.call(t.Context(), op, op.Request); a.err != nil {
			t.Fatalf("%v: %v", op, a.err)
		}
	}
}

// dump returns all that can be seen of a server's data.
func dump(t *testing.T, side *Side) []string {
	t.Helper()
	everything := &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}
	earlier := &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: 40}
	compacted := &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: 29}
	var lines []string
	for _, op := range []Op{
		{Kind: "range", Request: everything}, {Kind: "range", Request: earlier},
		{Kind: "range", Request: compacted},
		{Kind: "hashkv", Request: &pb.HashKVRequest{Revision: 45}},
		{Kind: "hashkv", Request: &pb.HashKVRequest{}},
		{Kind: "leases", Request: &pb.LeaseLeasesRequest{}},
		{Kind: "timetolive", Request: &pb.LeaseTimeToLiveRequest{ID: 1001, Keys: true}},
	} {
		a := side.call(t.Context(), op, op.Request)
		for _, m := range a.msgs {
			if err := side.normalize(m); err != nil {
				t.Errorf("%v: %v", op, err)
			}
			if ttl, ok := m.(*pb.LeaseTimeToLiveResponse); ok && ttl.TTL > 0 {
				ttl.TTL = 1
			}
			lines = append(lines, op.Kind+" "+text(m))
		}
		if a.err != nil {
			lines = append(lines, op.Kind+" "+a.err.Error())
		}
	}
	return lines
}

// snapshotOf starts a server, fills it, saves a snapshot to a file and returns what was in it.
func snapshotOf(t *testing.T, server, path string) []string {
	t.Helper()
	side := startSide(t, server, Config{})
	fill(t, side)
	if err := side.save(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	want := dump(t, side)
	side.Close()
	return want
}

// restore restores a snapshot with the server's own tool, starts the server on it and returns it.
func restore(t *testing.T, server, path string, flags ...string) *Side {
	t.Helper()
	s, err := NewServer(program(t, server), filepath.Join(t.TempDir(), "restored"), Config{})
	if err != nil {
		t.Fatal(err)
	}
	args := append(utl(t, server), "snapshot", "restore", path, "--data-dir="+s.DataDir(),
		"--name=x", "--initial-cluster=x="+s.PeerURL(),
		"--initial-advertise-peer-urls="+s.PeerURL())
	args = append(args, flags...)
	out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	side := &Side{Name: server, Server: s}
	t.Cleanup(side.Close)
	if err := side.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return side
}

// TestSnapshot moves data between the two sides by snapshot in every direction.
func TestSnapshot(t *testing.T) {
	servers := []string{*flagRef, *flagSut}
	for _, from := range servers {
		t.Run("from "+filepath.Base(from), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "snapshot.db")
			want := snapshotOf(t, from, path)
			for _, to := range servers {
				t.Run("to "+filepath.Base(to), func(t *testing.T) {
					side := restore(t, to, path)
					got := dump(t, side)
					if d := diffLines("the data", want, got); d != "" {
						t.Error(d)
					}
					op := Op{Kind: "put", Request: &pb.PutRequest{Key: []byte("after")}}
					if a := side.call(t.Context(), op, op.Request); a.err != nil {
						t.Errorf("a put afterwards: %v", a.err)
					}
				})
			}
		})
	}
}

// TestSnapshotBump restores with a revision far ahead, as after a loss of newer data, and compares
// what the two servers make of it.
func TestSnapshotBump(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "snapshot.db")
	snapshotOf(t, *flagRef, path)
	var dumps [2][]string
	for i, server := range []string{*flagRef, *flagSut} {
		side := restore(t, server, path, "--bump-revision=1000", "--mark-compacted")
		dumps[i] = dump(t, side)
		op := Op{Kind: "put", Request: &pb.PutRequest{Key: []byte("after"), PrevKv: true}}
		a := side.call(t.Context(), op, proto.Clone(op.Request))
		if a.err != nil {
			t.Fatal(a.err)
		}
		if err := side.normalize(a.msgs[0]); err != nil {
			t.Error(err)
		}
		dumps[i] = append(dumps[i], a.String())
	}
	for i := range dumps {
		// To carry the revision, etcdutl writes the last record once more; etcd's hash covers it.
		dumps[i] = slices.DeleteFunc(dumps[i], func(line string) bool {
			return strings.HasPrefix(line, "hashkv ")
		})
	}
	if d := diffLines("the data", dumps[0], dumps[1]); d != "" {
		t.Error(d)
	}
}

// TestUtl compares what etcdutl and Cairn's counterpart, under both of its names, say about files.
func TestUtl(t *testing.T) {
	t.Parallel()
	good := filepath.Join(t.TempDir(), "good.db")
	snapshotOf(t, *flagRef, good)
	data, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	flipped := slices.Clone(data)
	flipped[len(flipped)/2] ^= 1
	files := map[string][]byte{
		"good.db": data, "flipped.db": flipped, "short.db": data[:len(data)/3], "empty.db": nil,
		"bare.db": data[:len(data)-sha256.Size],
	}
	link, err := tools.Link(t.Context(), Etcdutl)
	if *flagSut == Cairn && err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"snapshot status good.db", "snapshot status good.db -w=json",
		"snapshot status good.db -w=table", "snapshot status good.db -w=fields",
		"hashkv good.db", "hashkv good.db --rev=40", "hashkv good.db -w=json",
		"hashkv good.db -w=fields", "hashkv good.db -w=table", "hashkv missing.db",
		"snapshot status missing.db", "snapshot status", "snapshot status a b", "hashkv",
		"snapshot restore flipped.db --data-dir=restored", "snapshot restore",
		"snapshot restore missing.db --data-dir=restored",
		"snapshot restore bare.db --data-dir=restored",
		"snapshot restore good.db --data-dir=r1 --bump-revision=5", "snapshot frobnicate",
		"frobnicate", "version", "snapshot status good.db -w=nonsense",
	} {
		want := runUtl(t, []string{program(t, Etcdutl)}, files, line)
		faces := [][]string{utl(t, *flagSut)}
		if *flagSut == Cairn {
			faces = append(faces, []string{link})
		}
		for _, face := range faces {
			if got := runUtl(t, face, files, line); got != want {
				t.Errorf("%s %s\n--- etcdutl: %s\n%s+++ here: %s\n%s", filepath.Base(face[0]), line,
					want.End, want.Stdout, got.End, got.Stdout)
			}
		}
	}
}

// runUtl runs a line of arguments in a directory with fresh copies of files, because etcdutl writes
// to what it reads, and returns the output and the exit status.
func runUtl(t *testing.T, face []string, files map[string][]byte, line string) Outcome {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := Command{Text: line, Args: strings.Fields(line)}
	shell := &Shell{Program: face, Vars: map[string]string{"dir": dir}}
	o, err := shell.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if o.Stderr != "" {
		t.Logf("%s %s: %s", face[0], line, o.Stderr)
	}
	return Outcome{Stdout: shell.Mask(c, o.Stdout), End: o.End}
}

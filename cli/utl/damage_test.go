package utl

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/cairnkv/cairn/vfs"
)

// readAll opens a file and reads all there is in it.
func readAll(path string, o openOptions) error {
	s, err := openSnapshot(vfs.OS(), path, o)
	if err != nil {
		return err
	}
	_, err1 := s.Status()
	_, err2 := s.HashKV(0)
	return errors.Join(err1, err2, s.Close())
}

// bigDatabase makes a database with branches, long values, free pages and buckets of all kinds.
func bigDatabase(t testing.TB) []byte {
	path := filepath.Join(t.TempDir(), "db")
	db, err := bolt.Open(path, 0o600, &bolt.Options{PageSize: 1024, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	put := func(from, to int64) error {
		return db.Update(func(tx *bolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("key"))
			if err != nil {
				return err
			}
			for n := from; n < to; n++ {
				c := change{rev: revision{main: n}}
				// A value that is no message of protobuf would be an error of its own.
				v := append([]byte("\x0a\x01k\x2a\xfe\x0f"), make([]byte, 2046)...)
				if n%7 != 0 {
					v = []byte("\x0a\x01k")
				}
				if err := b.Put(c.bucketKey(), v); err != nil {
					return err
				}
			}
			_, err = tx.CreateBucketIfNotExists([]byte("meta"))
			return err
		})
	}
	drop := func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte("key"))
		for n := int64(20); n < 120; n++ {
			if err := b.Delete(change{rev: revision{main: n}}.bucketKey()); err != nil {
				return err
			}
		}
		return nil
	}
	err = errors.Join(put(2, 200), db.Update(drop), put(200, 210), db.Close())
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestFlippedBitIsFound: with a hash behind it, no flipped bit goes unnoticed.
func TestFlippedBitIsFound(t *testing.T) {
	good, err := os.ReadFile(sample)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "snap")
	for i := 0; i < len(good); i += 61 {
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		err := readAll(path, openOptions{needHash: true})
		if err == nil || !strings.Contains(err.Error(), "expected sha256 [") {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
}

// TestDamageIsNoCrash: without a hash, a damaged file is read or refused; it does not end the
// process, which is what bbolt's way of reading mapped memory would do.
func TestDamageIsNoCrash(t *testing.T) {
	t.Logf("replay by -seed %d", *seed)
	r := rand.New(rand.NewPCG(*seed, 1))
	whole, err := os.ReadFile(sample)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "db")
	refused := 0
	const rounds = 400
	for _, good := range [][]byte{whole[:len(whole)-sha256.Size], bigDatabase(t)} {
		m, reachable := reachablePages(t, good)
		for range rounds {
			bad := bytes.Clone(good)
			for range 1 + r.IntN(3) {
				// Mostly where structure is: the first bytes of pages, and the tables behind them.
				i := r.IntN(len(bad))
				if r.IntN(4) > 0 {
					id := reachable[r.IntN(len(reachable))]
					i = int(id)*int(m.pageSize) + r.IntN(128)
				}
				bad[i] = byte(r.Uint32())
			}
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			if readAll(path, openOptions{}) != nil {
				refused++
			}
		}
	}
	if refused < rounds {
		t.Errorf("only %d of %d damaged files were refused: are they damaged?", refused, 2*rounds)
	}
}

// TestCutFiles: a file that ends early is refused with a reason.
func TestCutFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	good := bigDatabase(t)
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := readAll(path, openOptions{}); err != nil {
		t.Fatal(err)
	}
	m, _ := reachablePages(t, good)
	used := int(m.pages) * int(m.pageSize)
	for size := 0; size < len(good); size += 512 {
		if err := os.WriteFile(path, good[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		err := readAll(path, openOptions{})
		if err == nil && size < used {
			t.Errorf("%d of %d bytes pass", size, len(good))
		}
		if err := readAll(path, openOptions{needHash: true}); !errors.Is(err, errMissingHash) {
			t.Errorf("%d bytes without a hash: %v", size, err)
		}
	}
}

// TestDamageIsNamed: each thing that the walk looks at, broken by hand.
func TestDamageIsNamed(t *testing.T) {
	const page = 1024
	good := bigDatabase(t)
	kind := func(b []byte, id int) uint16 { return le.Uint16(b[id*page+8:]) }
	first := func(flag uint16, ok func(b []byte) bool) int {
		_, reachable := reachablePages(t, good)
		for _, id := range reachable {
			if kind(good, int(id)) == flag && ok(good[id*page:]) {
				return int(id)
			}
		}
		t.Fatalf("no page with flag %#x", flag)
		return 0
	}
	anyPage := func([]byte) bool { return true }
	branch, leaf := first(branchFlag, anyPage), first(leafFlag, anyPage)
	last := pageHeaderSize + (int(le.Uint16(good[leaf*page+10:]))-1)*elementSize
	lastKey := last + int(le.Uint32(good[leaf*page+last+4:]))
	buckets := first(leafFlag, func(b []byte) bool { return le.Uint32(b[pageHeaderSize:]) == 1 })
	for _, tc := range []struct {
		name  string
		page  int
		off   int
		value uint64
		size  int
		text  string
	}{
		{"page number", leaf, 0, 999, 8, fmt.Sprintf("page %d says that it is page 999", leaf)},
		{"page kind", leaf, 8, 0x40, 2, "is neither branch nor leaf"},
		{"number of elements", leaf, 10, 60000, 2, "beyond its end"},
		{"overflow", leaf, 12, 1 << 20, 4, "pages long, beyond"},
		{"position", leaf, pageHeaderSize + 4, 1 << 30, 4, "beyond its end"},
		{"key size", leaf, pageHeaderSize + 8, 1 << 30, 4, "beyond its end"},
		{"value size", leaf, pageHeaderSize + 12, 1 << 30, 4, "beyond its end"},
		{"child beyond the end", branch, pageHeaderSize + 8, 1 << 40, 8, "outside the"},
		{"child of itself", branch, pageHeaderSize + 8, uint64(branch), 8, "is used twice"},
		{"child is a meta page", branch, pageHeaderSize + 8, 1, 8, "outside the"},
		{"branch key", branch, pageHeaderSize, 1 << 30, 4, "beyond its end"},
		{"no children", branch, 10, 0, 2, "a branch to nowhere"},
		{"order", leaf, pageHeaderSize + elementSize + 8, 0, 4, "does not follow key"},
		{"first key", leaf, pageHeaderSize + 8, 0, 4, "where the page begins"},
		{"last key", leaf, lastKey, 0x7f, 2, "where the next page begins"},
		{"pair as bucket", leaf, pageHeaderSize, 1, 4, "is no pair (flags 0x1)"},
		{"bucket as pair", buckets, pageHeaderSize, 0, 4, "is no bucket (flags 0x0)"},
		{"bucket's value", buckets, pageHeaderSize + 12, 3, 4, "a bucket of 3 bytes"},
	} {
		bad := bytes.Clone(good)
		at := bad[tc.page*page+tc.off:]
		switch tc.size {
		case 2:
			le.PutUint16(at, uint16(tc.value))
		case 4:
			le.PutUint32(at, uint32(tc.value))
		case 8:
			le.PutUint64(at, tc.value)
		}
		path := filepath.Join(t.TempDir(), "db")
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		err := readAll(path, openOptions{})
		if err == nil || !strings.Contains(err.Error(), tc.text) ||
			!strings.Contains(err.Error(), path+" is damaged") {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

// reachablePages are those that a walk of a sound database visits.
func reachablePages(t *testing.T, db []byte) (m meta, reachable []uint64) {
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, db, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := vfs.OS().Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, _ = newestMeta(f, int64(len(db)))
	d := &database{f: f, meta: m}
	visit := func(root uint64, pair func(uint32, []byte, []byte) error) {
		w := newPageWalk(d, pair)
		if err := w.page(root, 0, nil, nil); err != nil {
			t.Fatal(err)
		}
		for id := range m.pages {
			if w.seen[id/64]&(1<<(id%64)) != 0 {
				reachable = append(reachable, id)
			}
		}
	}
	visit(m.root, func(_ uint32, _, bucket []byte) error {
		if root := le.Uint64(bucket); root != 0 {
			visit(root, func(uint32, []byte, []byte) error { return nil })
		}
		return nil
	})
	return m, reachable
}

// TestLockedFile: a file in use is named, with the way out.
func TestLockedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	exit, _, stderr := runUtl(&fakeDir{}, "etcdutl", "hashkv", path, "--timeout", "10ms")
	if exit != 1 || !strings.Contains(stderr, path+" is in use by another process") {
		t.Errorf("exit %d, %s", exit, stderr)
	}
}

func TestNotADatabase(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"empty": "", "text": "hello", "long": strings.Repeat("x", 100_000),
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		exit, _, stderr := runUtl(&fakeDir{}, "etcdutl", "snapshot", "status", path)
		if exit != 1 || !strings.Contains(stderr, path+" is not a snapshot") {
			t.Errorf("%s: exit %d, %s", name, exit, stderr)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != content {
			t.Errorf("%s was changed: %v", name, err)
		}
	}
}

// TestBadRecords: pairs that no etcd writes.
func TestBadRecords(t *testing.T) {
	const zero, two = "\x00\x00\x00\x00\x00\x00\x00\x00", "\x00\x00\x00\x00\x00\x00\x00\x02"
	const negative = "\xff\xff\xff\xff\xff\xff\xff\xff"
	for text, pair := range map[string][2]string{
		"invalid revision length: 3":             {"abc", ""},
		"invalid separator in bucket key: 'x'":   {two + "x" + zero, ""},
		"negative revision: main=-1 sub=0":       {negative + "_" + zero, ""},
		"cannot unmarshal value, key: \"\\x00\\": {two + "_" + zero, "\xff"},
	} {
		path := filepath.Join(t.TempDir(), "db")
		db, err := bolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = db.Update(func(tx *bolt.Tx) error {
			b, err := tx.CreateBucket([]byte("key"))
			if err != nil {
				return err
			}
			return b.Put([]byte(pair[0]), []byte(pair[1]))
		})
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
		exit, _, stderr := runUtl(&fakeDir{}, "etcdutl", "snapshot", "status", path)
		if exit != 1 || !strings.Contains(stderr, text) {
			t.Errorf("exit %d, %s; want %s", exit, stderr, text)
		}
		if exit, _, _ := runUtl(&fakeDir{}, "etcdutl", "hashkv", path); exit != 1 {
			t.Errorf("hashkv of %q passes", pair)
		}
	}
}

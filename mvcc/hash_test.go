package mvcc

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/vfs"
)

// TestHashKVOfEtcd plays transcripts that were recorded with etcd 3.7.3's own package mvcc (random
// transactions, compactions that were waited for, and HashByRev at revisions that it had no hash
// remembered for) and compares every hash and error; once straight, once with the index work left
// undone until the end, once with a restart before each hash.
func TestHashKVOfEtcd(t *testing.T) {
	text, err := os.ReadFile("testdata/hashkv.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"straight", "lazy", "restarting"} {
		t.Run(mode, func(t *testing.T) {
			p := &player{t: t, mode: mode}
			defer p.close()
			for i, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
				if got := p.play(strings.Fields(line)); got != line {
					t.Fatalf("line %d: %s\n    want: %s", i+1, got, line)
				}
			}
			if p.hashes < 500 {
				t.Fatalf("only %d hashes", p.hashes)
			}
		})
	}
}

// player executes lines of a transcript and says what etcd's recorder would have written.
type player struct {
	t      *testing.T
	mode   string
	fs     *vfs.Mem
	log    *revlog.Log
	s      *Store
	hashes int
}

func (p *player) check(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *player) close() {
	if p.log != nil {
		p.check(p.log.Close())
	}
}

func (p *player) open(mark revlog.Mark, rev, compactRev int64) {
	p.t.Helper()
	var err error
	p.log, err = revlog.Open(p.fs, testDir, testOptions(), mark)
	p.check(err)
	p.s, err = Open(p.log, rev, compactRev)
	p.check(err)
}

func (p *player) play(words []string) string {
	p.t.Helper()
	line := strings.Join(words, " ")
	switch words[0] {
	case "store":
		p.close()
		p.fs = vfs.NewMem()
		p.open(revlog.Mark{}, FirstRev, NeverCompacted)
		return line
	case "compact":
		return p.compact(words[1])
	case "hash":
		return p.hash(words[1])
	}
	tx := p.s.Begin()
	for i := 1; words[i] != "rev"; i += 2 {
		p.change(tx, words[i], words[i+1])
	}
	tx.End()
	rev, _, err := p.s.Publish()
	p.check(err)
	return fmt.Sprint(strings.Join(words[:len(words)-1], " "), " ", rev)
}

func (p *player) change(tx *Tx, op, arg string) {
	p.t.Helper()
	switch op {
	case "put":
		parts := strings.Split(arg, "=")
		lease, err := strconv.ParseInt(parts[2], 10, 64)
		p.check(err)
		_, _, err = tx.Put([]byte(parts[0]), []byte(parts[1]), lease)
		p.check(err)
	case "del":
		_, _, err := tx.Delete([]byte(arg))
		p.check(err)
	case "clear":
		var keys [][]byte
		tx.Ascend([]byte("a"), []byte("z"), func(key []byte, _ Version) bool {
			keys = append(keys, bytes.Clone(key))
			return true
		})
		for _, key := range keys {
			_, _, err := tx.Delete(key)
			p.check(err)
		}
	}
}

func (p *player) compact(arg string) string {
	p.t.Helper()
	rev, err := strconv.ParseInt(arg, 10, 64)
	p.check(err)
	if err := p.s.Compact(rev); err != nil {
		return fmt.Sprintf("compact %d %s", rev, strings.TrimPrefix(err.Error(), "etcdserver: "))
	}
	_, _, err = p.s.Publish()
	p.check(err)
	for p.mode != "lazy" && !p.s.CompactStep(100) {
	}
	return fmt.Sprintf("compact %d ok", rev)
}

func (p *player) hash(arg string) string {
	p.t.Helper()
	rev, err := strconv.ParseInt(arg, 10, 64)
	p.check(err)
	if p.mode == "restarting" {
		mark := p.s.Mark()
		p.check(p.log.Sync())
		p.close()
		p.open(mark, p.s.Rev(), p.s.CompactRev())
	}
	p.hashes++
	hash, hashRev, compactRev, err := p.s.HashKV(context.Background(), rev)
	if err != nil {
		return fmt.Sprintf("hash %d %s", rev, strings.TrimPrefix(err.Error(), "etcdserver: "))
	}
	return fmt.Sprintf("hash %d %08x %d %d", rev, hash, hashRev, compactRev)
}

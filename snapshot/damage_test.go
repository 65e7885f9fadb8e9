package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairnkv/cairn/mvcc"
	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/vfs"
)

const donorDir = "/data/donors"

// TestRepair damages each file of a follower's log in turn, salvages it, and has the leader send
// what is lost, with the payloads from the donors.
func TestRepair(t *testing.T) {
	var omitted, records, below, refetched int64
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := newRepair(t, seed)
			for _, name := range r.files() {
				r.one(name)
			}
			omitted, records = omitted+r.omitted, records+r.records
			below, refetched = below+r.below, refetched+r.refetched
		})
	}
	t.Logf("%d of %d payloads came from donors; %d cuts below the compaction, %d donors failed",
		omitted, records, below, refetched)
	if omitted == 0 || below == 0 || refetched == 0 {
		t.Error("a case was never met")
	}
}

type repair struct {
	*world
	leader, follower *member
	disk             *vfs.Mem // the follower's, closed
	// omitted and records count what was sent, below the cuts below the compact revision,
	// refetched the donors that failed.
	omitted, records, below, refetched int64
}

func newRepair(t *testing.T, seed uint64) *repair {
	rng := rand.New(rand.NewPCG(seed, 6))
	w := &world{t: t, rng: rng, keys: 20 << rng.IntN(4), size: 50 << rng.IntN(4)}
	r := &repair{world: w, leader: w.member(), follower: w.member()}
	for range 10 + rng.IntN(20) {
		w.add(rng.IntN(50))
		for _, m := range []*member{r.leader, r.follower} {
			m.apply(len(w.ops))
			m.live(rng.IntN(150))
		}
	}
	if rng.IntN(2) == 0 {
		r.follower.rest()
	}
	r.follower.reopen() // what a rewrite leaves behind goes
	r.follower.checkpoint()
	w.check(r.follower.log.Close())
	r.disk = r.follower.fs
	w.add(rng.IntN(100))
	r.leader.apply(len(w.ops))
	if rng.IntN(2) == 0 {
		r.leader.rest()
	}
	return r
}

// files are those of the log up to the mark.
func (r *repair) files() []string {
	names, err := r.disk.List(logDir)
	r.check(err)
	var out []string
	for _, name := range names {
		var first uint64
		if _, err := fmt.Sscanf(name, "%08x-", &first); err == nil &&
			first <= r.follower.saved.mark.Segment && strings.HasSuffix(name, ".seg") {
			out = append(out, name)
		}
	}
	return out
}

// one damages one file of a copy of the disk and repairs it.
func (r *repair) one(name string) {
	disk := r.disk.KillClone()
	r.harm(disk, filepath.Join(logDir, name))
	old := r.follower.saved
	out, err := revlog.Salvage(disk, logDir, logOptions(), old.mark, donorDir)
	if errors.Is(err, revlog.ErrVersion) {
		return // the bit was one of the version
	}
	r.check(err)
	m := &member{w: r.world, fs: disk, saved: saved{
		mark: out.Mark, rev: max(out.Rev, mvcc.FirstRev), compactRev: old.compactRev,
	}}
	if m.saved.rev < m.saved.compactRev {
		r.below++
	}
	m.open()
	r.follow(m)
	r.compare(r.leader, m)
	m.reopen()
	r.compare(r.leader, m)
	m.rest()
	m.reopen()
	r.compare(r.leader, m)
	ops := r.ops
	r.add(30)
	same := r.member()
	same.apply(len(r.ops))
	m.apply(len(r.ops))
	r.compare(same, m)
	r.ops = ops // the leader has not seen them
	r.check(errors.Join(m.log.Close(), same.log.Close()))
}

func (r *repair) harm(disk *vfs.Mem, path string) {
	info, err := disk.Stat(path)
	r.check(err)
	switch r.rng.IntN(3) {
	case 0:
		r.check(errors.Join(disk.Remove(path), disk.SyncDir(logDir)))
	case 1:
		r.check(vfs.Flip(disk, path, r.rng.Int64N(info.Size()), uint(r.rng.IntN(8))))
	case 2:
		f, err := disk.OpenReadWrite(path)
		r.check(err)
		r.check(errors.Join(f.Truncate(r.rng.Int64N(info.Size())), f.Sync(), f.Close()))
	}
}

// follow brings the member up, by several tries if need be.
func (r *repair) follow(m *member) {
	donors, err := revlog.OpenDonors(m.fs, donorDir, logOptions())
	r.check(err)
	if r.rng.IntN(4) == 0 { // they decay, too
		names, err := m.fs.List(donorDir)
		if !errors.Is(err, fs.ErrNotExist) {
			r.check(err)
		}
		for _, name := range names {
			path := filepath.Join(donorDir, name)
			info, err := m.fs.Stat(path)
			r.check(err)
			r.check(vfs.Flip(m.fs, path, r.rng.Int64N(info.Size()), 3))
		}
	}
	in, err := Open(m.fs, stagingDir, Options{ID: storeID, Donors: donors})
	r.check(err)
	for tries := 0; ; tries++ {
		if _, ok := in.Complete(); ok {
			break
		}
		if tries > 200 {
			r.t.Fatal("does not get on")
		}
		have, err := in.Have(m.store.Rev(), m.store.CompactRev())
		r.check(err)
		stream, stats, err := r.leader.stream(have)
		r.check(err)
		n := len(stream)
		if r.rng.IntN(3) == 0 {
			n = r.rng.IntN(n)
		}
		err = in.Receive(context.Background(), bytes.NewReader(stream[:n]))
		if _, ok := errors.AsType[*DonorError](err); ok {
			r.refetched++
		} else if n == len(stream) {
			r.check(err)
		}
		r.omitted, r.records = r.omitted+stats.Omitted, r.records+stats.Records
	}
	h, _ := in.Complete()
	_, err = in.Graft(m.store)
	r.check(err)
	m.applied = int(h.Index)
	m.checkpoint()
	r.check(errors.Join(in.Remove(), donors.Close(), m.fs.RemoveAll(donorDir)))
}

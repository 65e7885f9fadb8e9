package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairnkv/cairn/check"
)

func crashScenarios() []scenario {
	return []scenario{
		// etcd wrote the index of what was applied apart from what was applied: after a crash
		// under high load entries were applied twice, and the member was ahead of the others.
		{"etcd-13766", "revisions differ between members after a crash", 3,
			with("--snapshot-count=100"), (*known).apartAfterCrash},
		// A lone etcd answered when an entry was committed, before it was synced.
		{"etcd-14370", "a single member loses an acknowledged write", 1,
			[]string{"--snapshot-count=300"}, (*known).lostWrite},
		// etcd's defragmentation committed what was applied without its index.
		{"etcd-14685", "a crash while files are rewritten damages them", 1,
			[]string{"--snapshot-count=100"}, (*known).crashInRewrite},
		// etcd took the revision from the newest record; a compaction at a delete removes that.
		{"etcd-17780", "revisions go back after a crash in a compaction", 1,
			[]string{"--snapshot-count=10", "--compaction-batch-limit=10",
				"--compaction-sleep-interval=2ms"}, (*known).crashInCompaction},
	}
}

const (
	// crashWriters are at work at each member while it crashes, after at least crashAcks
	// acknowledgements since the last time.
	crashWriters = 4
	crashAcks    = 100

	// killDelay is how long it takes at most from there until the crash.
	killDelay = 20 * time.Millisecond
)

// apartAfterCrash kills one, two or all of three members under load, again and again.
func (k *known) apartAfterCrash() {
	l := k.load(crashWriters, mix{puts: 50, deletes: 15, txns: 25, leases: 10, keys: 20},
		k.cluster.Members()...)
	var kills int
	for round := range k.rounds(4) {
		k.acks(crashAcks + k.rng.IntN(crashAcks))
		s := k.scene()
		k.moment(killDelay)
		victims := [][]*Member{{s.Leader}, s.all(), s.Followers[:1],
			{s.Leader, s.Followers[0]}}[round%4]
		k.must(each((*Member).Kill, victims...))
		kills += len(victims)
		k.recover()
		now := k.extend(s.all()[k.rng.IntN(len(s.all()))])
		k.must(k.cluster.SameHash(k.ctx, now))
	}
	l.stop()
	k.settle()
	acked, unknown, _ := k.ledger.Counts()
	k.tell("%d kills in %d rounds: %d writes acknowledged, %d not answered; 3 members are equal "+
		"at revision %d", kills, k.rounds(4), acked, unknown, k.history.Revision)
}

// lostWrite kills a single member under load, again and again. Some of the time values are so large
// that the log goes on in a new file.
func (k *known) lostWrite() {
	m := k.cluster.Members()[0]
	for round := range k.rounds(8) {
		mix, least := mix{puts: 1, keys: 20}, crashAcks
		if round%3 == 2 {
			mix.bytes, mix.keys, least = 4*heavy, 2, 3*crashAcks/2
		}
		l := k.load(2*crashWriters, mix, m)
		k.acks(least + k.rng.IntN(crashAcks))
		k.moment(killDelay)
		k.must(m.Kill())
		l.stop()
		k.recover()
		k.settle()
	}
	acked, unknown, _ := k.ledger.Counts()
	k.tell("%d kills: %d puts acknowledged, %d not answered; all that was acknowledged is there, "+
		"under its revision, up to %d", k.rounds(8), acked, unknown, k.history.Revision)
}

// heavy is the value that overwritten keys get while files are rewritten, in bytes: a file is only
// rewritten when it has some MiB.
const heavy = 16 << 10

// crashInRewrite overwrites large values, compacts, asks for defragmentation, and kills the member
// as soon as one of its files is being rewritten. What was before the crash is there after it.
func (k *known) crashInRewrite() {
	m := k.cluster.Members()[0]
	var met int
	for range k.rounds(4) {
		l := k.load(crashWriters, mix{puts: 90, deletes: 10, keys: 6, bytes: heavy}, m)
		k.acks(400)
		now := k.extend(m)
		compacted := now - 10
		_, err := m.Client().Compact(k.ctx, compacted, clientv3.WithCompactPhysical())
		k.must(err)
		before := k.hash(m, now)
		stop := k.defragment(m)
		if k.within(time.Second, func() bool { return rewrites(m) }) {
			met++
		}
		k.must(m.Kill())
		l.stop()
		stop()
		k.recover()
		k.settle()
		if after := k.hash(m, now); after != before {
			k.must(fmt.Errorf("the hash at revision %d, compacted at %d, was %08x and is %08x", now,
				compacted, before, after))
		}
		timeline := check.NewTimeline(k.history, func(string) bool { return true })
		for revision := compacted; revision <= now; revision++ {
			k.fail(k.audit(m, timeline, revision))
		}
	}
	acked, _, _ := k.ledger.Counts()
	k.tell("%d kills, %d of them while a file was rewritten: %d writes acknowledged, all "+
		"revisions since the last compaction are what they were, up to %d", k.rounds(4), met, acked,
		k.history.Revision)
}

// hash returns the hash of what a member has up to a revision.
func (k *known) hash(m *Member, revision int64) (hash uint32) {
	k.Helper()
	k.must(Retry(k.ctx, healthyTimeout, func(ctx context.Context) error {
		resp, err := m.Client().HashKV(ctx, m.Endpoint(), revision)
		if err == nil {
			hash = resp.Hash
		}
		return err
	}))
	return hash
}

// defragment asks a member for it all the time, until the function that it returns is called.
func (k *known) defragment(m *Member) (stop func()) {
	ctx, cancel := context.WithCancel(k.ctx)
	var tasks sync.WaitGroup
	tasks.Go(func() {
		for ctx.Err() == nil {
			_, _ = m.Client().Defragment(ctx, m.Endpoint()) // the member may be dead
			pause(ctx, pollEvery)
		}
	})
	stop = func() {
		cancel()
		tasks.Wait()
	}
	k.Cleanup(stop)
	return stop
}

// rewrites says whether a member is writing a file that is to take the place of others of its data:
// Cairn's segments and etcd's database are rewritten under names with ".tmp".
func rewrites(m *Member) bool {
	found := errors.New("found")
	err := filepath.WalkDir(m.DataDir(), func(name string, d fs.DirEntry, err error) error {
		if err == nil && strings.Contains(d.Name(), ".tmp") &&
			(strings.HasPrefix(d.Name(), "db.") || strings.Contains(d.Name(), ".seg.")) {
			return found
		}
		return nil // what goes meanwhile does not matter
	})
	return errors.Is(err, found)
}

// crashInCompaction deletes keys, so that the newest revisions are deletes, compacts at the last of
// them, and kills the member in the midst of it, at once, or when the log has gone on and the
// revision has not.
func (k *known) crashInCompaction() {
	const keys, grants = 25, 12
	m := k.cluster.Members()[0]
	w := k.writer(k.dial(m.Endpoint()), mix{keys: 1})
	var answered int
	for round := range k.rounds(9) {
		for i := range keys {
			_, err := w.put(k.ctx, fmt.Sprint(i))
			k.must(err)
		}
		var newest int64
		for i := range keys {
			if i%3 == round%3 {
				continue
			}
			var err error
			newest, err = w.delete(k.ctx, fmt.Sprint(i))
			k.must(err)
		}
		if now := k.extend(m); now != newest {
			k.must(fmt.Errorf("revision %d was acknowledged, but the member is at %d", newest, now))
		}
		done := make(chan error, 1)
		go func() {
			var opts []clientv3.CompactOption
			if round%3 == 0 { // the answer comes when all is done, else when it begins
				opts = append(opts, clientv3.WithCompactPhysical())
			}
			_, err := w.client.Compact(k.ctx, newest, opts...)
			done <- err
		}()
		if round%3 == 0 {
			k.moment(killDelay)
			k.must(m.Kill())
			if <-done == nil {
				answered++
			}
		} else {
			k.must(<-done)
			answered++
			for range round % 3 / 2 * grants { // log entries without a revision, up to a checkpoint
				_, err := w.client.Grant(k.ctx, int64(leaseTTL.Seconds()))
				k.must(err)
			}
			k.must(m.Kill())
		}
		k.recover()
		k.revisionStays(m, w, newest)
	}
	k.tell("%d kills in compactions at a delete, %d of which were answered: the revision was "+
		"what it had been each time, up to %d", k.rounds(9), answered, k.history.Revision)
}

// revisionStays demands that a member that was killed while it compacted is at the revision that it
// was at, that the next write has the next one, and that its keys are right.
func (k *known) revisionStays(m *Member, w *writer, newest int64) {
	k.Helper()
	if now := k.revision(m); now != newest {
		k.must(fmt.Errorf("the member is at revision %d, it was at %d", now, newest))
	}
	next, err := w.put(k.ctx, "next")
	k.must(err)
	if next != newest+1 {
		k.must(fmt.Errorf("the write after revision %d has revision %d", newest, next))
	}
	k.settle()
}

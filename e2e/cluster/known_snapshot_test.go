package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairnkv/cairn/check"
)

// forgetful makes logs so short that a member which was away for some writes needs a snapshot.
var forgetful = with("--snapshot-count=30", "--snapshot-catchup-entries=5")

func snapshotScenarios() []scenario {
	return []scenario{
		// etcd let all watches begin again when a snapshot came, at the revision of their creation.
		{"etcd-15271", "a watch goes back in time after a partition", 3, forgetful,
			(*known).backInTime},
		// etcd removed the file of a snapshot that was still to be applied when a newer one came.
		{"etcd-18055", "two snapshots for one member", 3, forgetful, (*known).twoSnapshots},
		// etcd moved all watches to the store's revision when a snapshot came, those too that wait
		// for a later one.
		{"etcd-20221-events", "a watch of a future revision gets older events", 3, forgetful,
			(*known).oldEvents},
		// etcd's database was replaced by a snapshot while defragmentation replaced it, too.
		{"etcd-20271", "files change while they are read", 3, forgetful, (*known).changingFiles},
	}
}

const (
	// missedWrites is how many writes a member misses, each in a log entry of its own: more than
	// the others keep.
	missedWrites = 120

	// futureWrites is by how much a watch is ahead of all members.
	futureWrites = 10
)

// miss isolates a follower and lets the others go on without it, until they cannot bring it up
// from their logs. It returns what it is at, and the writer that went on.
func (k *known) miss(mix mix, n int) (behind *Member, at int64, w *writer) {
	k.Helper()
	scene := k.scene()
	behind = scene.Followers[0]
	at = k.revision(behind)
	k.cluster.Mesh.Isolate(behind.Name)
	w = k.writer(scene.Leader.Client(), mix)
	k.write(w, n)
	return behind, at, w
}

// comeBack ends the isolation of a member. What was said to it meanwhile is lost: it would make up
// for some of what the member lacks.
func (k *known) comeBack(m *Member) {
	k.Helper()
	k.cluster.Mesh.Drop(m.Name, "")
	k.recover()
}

// write lets n more requests of a writer be acknowledged, one after the other.
func (k *known) write(w *writer, n int) {
	k.Helper()
	for range n {
		k.must(w.step())
	}
}

// sent returns how many bytes of snapshots members have sent, as far as they tell.
func (k *known) sent() int64 {
	k.Helper()
	n, err := k.cluster.Sent(k.ctx)
	k.must(err)
	return n
}

// snapshotSince notes whether a snapshot was sent since there were some bytes of them.
func (k *known) snapshotSince(before int64) {
	k.Helper()
	if k.sent() > before {
		k.snapped++
	}
}

// more says whether another round is to come: n, and some more as long as no snapshot was sent, for
// on a busy machine the members that go on may not have shortened their logs in time. Without one
// the scenario is beside the point. etcd does not tell.
func (k *known) more(round, n int) bool {
	k.Helper()
	const extra = 5
	if round < k.rounds(n) || k.snapped > 0 || !k.cairn(k.cluster.Members()[0]) {
		return round < k.rounds(n)
	}
	if round == k.rounds(n)+extra {
		k.must(errors.New("no snapshot was sent"))
	}
	return true
}

// backInTime isolates a follower that has watches, until it needs a snapshot, and lets it come
// back: the watches go on where they were.
func (k *known) backInTime() {
	mix := mix{puts: 60, deletes: 10, txns: 30, keys: 10}
	var events, watches, round int
	for ; k.more(round, 2); round++ {
		k.write(k.writer(k.scene().Leader.Client(), mix), 30)
		ctx, stop := context.WithCancel(k.ctx)
		var tasks sync.WaitGroup
		var streams []*stream
		var clients []*watcher
		for _, m := range k.scene().Followers {
			now := k.revision(m)
			s := k.stream(m, 0)
			for _, from := range []int64{1, max(1, now-10), now + 1, 0} {
				k.add(s, "", from, false, true)
			}
			w := newWatcher(m.Name, k.dial(m.Endpoint()))
			tasks.Go(func() { w.run(ctx) })
			streams, clients = append(streams, s), append(clients, w)
		}
		k.extend(k.scene().Leader)
		for i, s := range streams {
			s.check(k) // they are synced
			k.must(clients[i].check(k.ctx, k.history))
		}
		sent := k.sent()
		behind, at, w := k.miss(mix, missedWrites)
		late := k.stream(behind, 0)
		for _, from := range []int64{1, max(1, at-10), at + 1, at + 10} {
			k.add(late, "", from, false, true)
		}
		k.comeBack(behind)
		k.snapshotSince(sent)
		k.add(late, "", 1, false, true)
		k.add(late, "", at+1, false, true)
		k.write(w, 10)
		k.settle()
		for _, s := range append(streams, late) {
			events += s.check(k)
			watches += len(s.watches)
			s.close()
		}
		for _, w := range clients {
			k.fail(w.check(k.ctx, k.history))
		}
		stop()
		tasks.Wait()
	}
	k.tell("%d times a member came back, %d by a snapshot: %d watches on followers have %d "+
		"events, each once and in order", round, k.snapped, watches, events)
}

// oldEvents lets a follower get a snapshot that has watches of revisions that it had not yet: some
// come with the snapshot, some later.
func (k *known) oldEvents() {
	mix := mix{puts: 60, deletes: 10, txns: 30, keys: 10}
	k.write(k.writer(k.scene().Leader.Client(), mix), 20)
	var events, watches, round int
	for ; k.more(round, 2); round++ {
		sent := k.sent()
		behind, at, w := k.miss(mix, missedWrites)
		_, _, newest := k.ledger.Counts()
		s := k.stream(behind, 0)
		for _, from := range []int64{at + 2, (at + newest) / 2, newest, newest + 1,
			newest + futureWrites/2, newest + futureWrites} {
			k.add(s, "", from, false, false)
		}
		k.comeBack(behind)
		k.snapshotSince(sent)
		for _, newest := k.history.Last(), newest; newest < s.watches[6].From+futureWrites; {
			k.must(w.step())
			_, _, newest = k.ledger.Counts()
		}
		k.settle()
		events += s.check(k)
		watches += len(s.watches)
		s.close()
	}
	k.tell("%d times a member came back, %d by a snapshot: %d watches of revisions that it did "+
		"not have got %d events, none from before", round, k.snapped, watches, events)
}

// twoSnapshots cuts a follower off again while it is sent a snapshot, lets the others go on so that
// another one is due, and kills it while it is sent that one.
func (k *known) twoSnapshots() {
	mix := mix{puts: 80, deletes: 20, keys: 100, bytes: heavy}
	k.write(k.writer(k.scene().Leader.Client(), mix), 20)
	sent := k.sent()
	behind, _, w := k.miss(mix, 150)
	others := slices.DeleteFunc(k.cluster.Members(), func(m *Member) bool { return m == behind })
	var cut, killed int
	for round := range k.rounds(6) {
		_, _, newest := k.ledger.Counts()
		some := k.cluster.Mesh.Passed("", behind.Name) + 32<<10 + k.rng.Int64N(1<<20)
		k.cluster.Mesh.Rejoin(behind.Name)
		k.within(time.Second, func() bool {
			return k.cluster.Mesh.Passed("", behind.Name) > some
		})
		if round%3 == 2 {
			k.must(behind.Kill())
			killed++
		}
		k.cluster.Mesh.Isolate(behind.Name)
		if behind.Running() {
			if now, err := applied(k.ctx, behind); err == nil && now < newest {
				cut++
			}
		} else {
			k.must(behind.Launch())
		}
		k.write(w, 35)
		// What was deleted is in no record of the next snapshot any more.
		_, err := w.client.Compact(k.ctx, k.extend(others[round%2])-5)
		k.must(err)
	}
	k.comeBack(behind)
	k.snapshotSince(sent)
	k.settle()
	if k.snapped == 0 && k.cairn(behind) {
		k.must(errors.New("no snapshot was sent"))
	}
	k.tell("%d times cut off, %d of them in the midst of a snapshot, and %d times killed: equal "+
		"at revision %d", k.rounds(6)-killed, cut, killed, k.history.Revision)
}

// applied returns the revision that a member is at by itself, if it serves clients.
func applied(ctx context.Context, m *Member) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	resp, err := m.Client().Get(ctx, "health", clientv3.WithSerializable())
	if err != nil {
		return 0, err
	}
	return resp.Header.Revision, nil
}

// changingFiles defragments a member that is getting a snapshot, and starts it again; and makes
// backups while everything changes, and restores them.
func (k *known) changingFiles() {
	for round := 0; k.more(round, 1); round++ {
		k.defragmentedSnapshot()
	}
	m := k.scene().Leader
	l := k.load(crashWriters, mix{puts: 90, deletes: 10, keys: 5, bytes: 4 * heavy}, m)
	stop := k.disturb(m)
	var files []string
	var tasks sync.WaitGroup
	defer tasks.Wait()
	for i := range k.rounds(2) {
		name := filepath.Join(k.TempDir(), fmt.Sprintf("backup-%d", i))
		files = append(files, name)
		k.acks(50)
		tasks.Go(func() { k.fail(save(k.ctx, m, name)) })
		for range 2 {
			k.acks(25)
			_, err := m.Client().Compact(k.ctx, k.extend(m)-5)
			k.must(err)
		}
		tasks.Wait()
	}
	reads := stop()
	l.stop()
	k.settle()
	timeline := check.NewTimeline(k.history, func(string) bool { return true })
	for _, name := range files {
		k.restored(name, timeline)
	}
	k.tell("a snapshot was installed under defragmentation; %d long reads, and %d backups, while "+
		"all was overwritten, compacted and defragmented: the backups are what was, up to "+
		"revision %d", reads, len(files), k.history.Revision)
}

// defragmentedSnapshot isolates a follower until it needs a snapshot, defragments and reads it
// while it gets that, and starts it again after some writes: it has lost none of them.
func (k *known) defragmentedSnapshot() {
	mix := mix{puts: 70, deletes: 30, keys: 100, bytes: bulky}
	k.write(k.writer(k.scene().Leader.Client(), mix), missedWrites)
	sent := k.sent()
	behind, _, w := k.miss(mix, missedWrites)
	stop := k.disturb(behind)
	k.comeBack(behind)
	k.snapshotSince(sent)
	k.write(w, 5)
	stop()
	k.must(behind.Kill())
	k.recover()
	k.settle()
}

// disturb defragments a member and reads all that it has, again and again, until the function that
// it returns is called. That returns the number of reads.
func (k *known) disturb(m *Member) (stop func() (reads int)) {
	end := k.defragment(m)
	ctx, cancel := context.WithCancel(k.ctx)
	var tasks sync.WaitGroup
	var reads int
	tasks.Go(func() {
		for ctx.Err() == nil {
			_, err := m.Client().Get(ctx, "\x00", clientv3.WithFromKey(),
				clientv3.WithSerializable())
			if err == nil {
				_, err = m.Client().HashKV(ctx, m.Endpoint(), 0)
			}
			if err == nil {
				reads++
			}
			pause(ctx, pollEvery)
		}
	})
	k.Cleanup(cancel)
	return func() int {
		end()
		cancel()
		tasks.Wait()
		return reads
	}
}

// save writes a backup of a member to a file.
func save(ctx context.Context, m *Member, name string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	r, err := m.Client().Snapshot(ctx)
	if err != nil {
		return err
	}
	f, err := os.Create(name)
	if err != nil {
		return errors.Join(err, r.Close())
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, r.Close(), f.Close())
}

// restored starts a member from a backup, and compares it with the history at its revision and
// shortly before.
func (k *known) restored(name string, timeline *check.Timeline) {
	k.Helper()
	c := emptyCluster(k.T)
	c.program = cairn(k.T) // the only one that has the tool, and what it restores is its own
	m, err := c.add()
	k.must(err)
	c.configure(m, "new", c.Members())
	restore(k.T, c, m, name)
	k.must(m.Start(k.ctx))
	now := k.revision(m)
	for revision := max(1, now-10); revision <= now; revision++ {
		err := k.audit(m, timeline, revision)
		if err != nil && revision < now && strings.Contains(err.Error(), "compacted") {
			continue
		}
		k.fail(err)
	}
}

package cluster

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairnkv/cairn/check"
)

func compactionScenarios() []scenario {
	return []scenario{
		// etcd's compaction at a delete removed the delete, which a watch from there may ask for.
		{"etcd-18089", "a compaction drops the event of a delete", 3, with("--snapshot-count=50"),
			(*known).droppedDelete},
		// etcd's members decided by themselves, at different times, whether a revision that a
		// transaction reads is compacted; and what stood before the read was done all the same.
		{"etcd-18667", "reads of a compacted revision in a transaction differ", 3,
			with("--snapshot-count=50"), (*known).compactedReads},
		// The same as the first, of a delete that is the newest revision.
		{"etcd-19179", "a watch from the compacted revision lacks its delete", 3, brisk,
			(*known).missingDelete},
	}
}

// remove puts keys and deletes them, in one of several ways, and returns the revision of the
// delete. The keys begin with the prefix.
func (k *known) remove(w *writer, prefix string, way int) int64 {
	k.Helper()
	var changes []check.Change
	for i := range 3 {
		key := fmt.Sprintf("%s%d", prefix, i)
		for range 2 {
			_, err := w.put(k.ctx, key)
			k.must(err)
		}
		changes = append(changes, check.Change{Key: key, Delete: true})
	}
	var op clientv3.Op
	switch way % 3 {
	case 0:
		revision, err := w.delete(k.ctx, changes[0].Key)
		k.must(err)
		return revision
	case 1: // all at once
		op = clientv3.OpDelete(prefix, clientv3.WithPrefix())
	default: // beside a put
		put := check.Change{Key: prefix + "other", Value: w.value()}
		changes = []check.Change{changes[2], put}
		op = clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpDelete(changes[0].Key),
			clientv3.OpPut(put.Key, put.Value)}, nil)
	}
	attempt := k.ledger.Try(changes...)
	resp, err := w.client.Do(k.ctx, op)
	k.must(err)
	var revision int64
	if way%3 == 1 {
		revision = resp.Del().Header.Revision
	} else {
		revision = resp.Txn().Header.Revision
	}
	k.ledger.Acked(attempt, revision, true)
	return revision
}

// compacted waits until a member has compacted at a revision.
func (k *known) compacted(m *Member, at int64) {
	k.Helper()
	k.must(Retry(k.ctx, healthyTimeout, func(ctx context.Context) error {
		_, err := m.Client().Get(ctx, "health", clientv3.WithRev(at-1), clientv3.WithSerializable())
		switch {
		case errors.Is(err, rpctypes.ErrCompacted):
			return nil
		case err == nil:
			return fmt.Errorf("%s has not compacted at revision %d", m.Name, at)
		}
		return err
	}))
}

// kept demands, of each member, that a watch from the compacted revision on gets that revision and
// all after it, and that one from before is told of the compaction. It returns the events' number.
func (k *known) kept(prefix string, at int64) (events int) {
	k.Helper()
	for _, m := range k.cluster.Members() {
		k.compacted(m, at)
		s := k.stream(m, 0)
		k.add(s, prefix, at, false, false)
		k.add(s, "", at, false, false)
		early := k.add(s, prefix, at-1, false, false)
		k.until("the end of a watch of what is compacted", func() bool {
			return s.is(func() bool { return early.ended })
		})
		events += s.check(k)
		s.close()
		if early.compacted != at || len(early.Events) > 0 {
			k.fail(fmt.Errorf("a watch from revision %d on %s got %d events, and was told that "+
				"the compaction was at %d, not %d", at-1, m.Name, len(early.Events),
				early.compacted, at))
		}
	}
	return events
}

// droppedDelete compacts at deletes after which more was written; watches from there, on each
// member, before and after a start, get the delete.
func (k *known) droppedDelete() {
	members := k.cluster.Members()
	w := k.writer(k.scene().Leader.Client(), mix{keys: 1})
	var streams []*stream
	for _, m := range members {
		streams = append(streams, k.stream(m, 0))
		k.add(streams[len(streams)-1], "", 1, false, false)
	}
	var events int
	rounds := k.rounds(6)
	for round := range rounds {
		prefix := fmt.Sprintf("k%d/", round)
		at := k.remove(w, prefix, round)
		for i := range 3 {
			_, err := w.put(k.ctx, fmt.Sprintf("%s%d", prefix, i))
			k.must(err)
		}
		now := k.extend(members[round%3])
		for _, s := range streams { // they are synced, on each member
			from := []int64{at, at - 1, 0}[round%3]
			k.add(s, prefix, from, false, false)
			s.check(k)
		}
		_, err := w.client.Compact(k.ctx, at, clientv3.WithCompactPhysical())
		k.must(err)
		k.must(k.cluster.SameHash(k.ctx, now))
		events += k.kept(prefix, at)
	}
	for _, s := range streams {
		events += s.check(k)
		s.close()
	}
	at := k.rewritten(w, "r/")
	events += k.kept("r/", at)
	k.must(each((*Member).Kill, members...))
	k.recover()
	k.settle()
	events += k.kept("r/", at)
	k.tell("%d compactions at deletes, files rewritten, and a start of all members: watches from "+
		"there got %d events and lacked none", rounds+1, events)
}

// rewritten compacts at a delete whose file is rewritten on each member, for much that is in it has
// been compacted. It returns the revision of the delete.
func (k *known) rewritten(w *writer, prefix string) int64 {
	k.Helper()
	leader := k.scene().Leader
	fill := func(n int) { // what is in files then is n of these values
		l := k.load(2, mix{puts: 1, keys: 2, bytes: 4 * heavy}, leader)
		k.acks(n)
		l.stop()
	}
	fill(100)
	at := k.remove(w, prefix, 2)
	fill(80)
	k.extend(leader)
	_, err := w.client.Compact(k.ctx, at, clientv3.WithCompactPhysical())
	k.must(err)
	for _, m := range k.cluster.Members() {
		k.compacted(m, at)
		_, err := m.Client().Defragment(k.ctx, m.Endpoint())
		k.must(err)
		if !k.cairn(m) {
			continue
		}
		k.until("a file that was rewritten", func() bool {
			names, err := filepath.Glob(filepath.Join(recordsOf(m), "*.000[1-9].seg"))
			k.must(err)
			return len(names) > 0
		})
	}
	return at
}

// missingDelete compacts at the newest revision, a delete, while watches from there are opened on
// each member, some a moment before and some a moment after.
func (k *known) missingDelete() {
	members := k.cluster.Members()
	w := k.writer(k.scene().Leader.Client(), mix{keys: 1})
	var streams []*stream
	for _, m := range members {
		streams = append(streams, k.stream(m, 0))
	}
	var prefix string
	var at int64
	rounds := k.rounds(12)
	for round := range rounds {
		prefix = fmt.Sprintf("k%d/", round)
		at = k.remove(w, prefix, round)
		k.extend(members[round%3])
		var opened sync.WaitGroup
		for _, s := range streams {
			before, after := k.rng.Int64N(int64(time.Millisecond)), k.rng.Int64N(int64(killDelay))
			opened.Go(func() {
				for _, wait := range []int64{before, after} {
					pause(k.ctx, time.Duration(wait))
					_, err := s.watch(prefix, at, false, false)
					k.fail(err)
				}
			})
		}
		_, err := w.client.Compact(k.ctx, at)
		opened.Wait()
		k.must(err)
		for _, s := range streams {
			s.check(k) // before the next compaction, which may overtake a watch that catches up
		}
	}
	var events int
	for _, s := range streams {
		events += s.check(k)
		s.close()
		for id, w := range s.watches {
			if w.ended {
				k.fail(fmt.Errorf("watch %d on %s, from the compacted revision %d, was cancelled "+
					"for a compaction at %d", id, s.name, w.From, w.compacted))
			}
		}
	}
	events += k.kept(prefix, at)
	k.must(each((*Member).Kill, members...))
	k.recover()
	k.settle()
	events += k.kept(prefix, at)
	k.tell("%d compactions at the newest revision, a delete, while watches from there were opened "+
		"on 3 members, and a start of all: %d events, none is missing", rounds, events)
}

// compactedReads runs transactions that write, and read a revision that is compacted meanwhile or
// not, on all members, while these are killed and replay them.
func (k *known) compactedReads() {
	members := k.cluster.Members()
	ctx, stop := context.WithCancel(k.ctx)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer stop()
	var compaction, refused atomic.Int64
	for _, m := range members {
		for range 3 {
			w := k.writer(k.dial(m.Endpoint()), mix{keys: 5})
			tasks.Go(func() {
				for ctx.Err() == nil {
					err := w.readPast(compaction.Load())
					if errors.Is(err, rpctypes.ErrCompacted) {
						refused.Add(1)
					} else if err != nil {
						pause(ctx, retryWait)
					}
				}
			})
		}
	}
	rounds := k.rounds(6)
	for round := range rounds {
		k.acks(60)
		s := k.scene()
		at := max(2, k.extend(members[round%3])-k.rng.Int64N(6))
		_, err := s.Leader.Client().Compact(k.ctx, at)
		k.must(err)
		compaction.Store(at)
		if round%3 == 2 {
			k.acks(20)
			k.must(each((*Member).Kill, [][]*Member{s.Followers[:1], s.all()}[round/3%2]...))
			k.recover()
		}
		now := k.extend(members[(round+1)%3])
		k.must(k.cluster.SameHash(k.ctx, now))
	}
	stop()
	tasks.Wait()
	k.settle()
	acked, unknown, _ := k.ledger.Counts()
	if refused.Load() == 0 {
		k.fail(errors.New("no transaction was refused: the scenario is beside the point"))
	}
	k.tell("%d compactions: %d transactions were done whole, %d refused and not done at all, %d "+
		"not answered; 3 members are equal at revision %d", rounds, acked, refused.Load(), unknown,
		k.history.Revision)
}

// readPast sends a transaction that puts two keys and reads, before, between or after that, some
// revision near the compaction.
func (w *writer) readPast(compaction int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
	defer cancel()
	one := check.Change{Key: w.key() + "/one", Value: w.value()}
	two := check.Change{Key: w.key() + "/two", Value: w.value()}
	past := max(1, compaction-2+w.rng.Int64N(4))
	read := clientv3.OpGet(w.name, clientv3.WithPrefix(), clientv3.WithRev(past))
	ops := []clientv3.Op{clientv3.OpPut(one.Key, one.Value), clientv3.OpPut(two.Key, two.Value)}
	i := w.rng.IntN(3)
	ops = append(ops[:i:i], append([]clientv3.Op{read}, ops[i:]...)...)
	if w.rng.IntN(4) == 0 { // the read one level deeper
		ops[i] = clientv3.OpTxn(nil, []clientv3.Op{read}, nil)
	}
	attempt := w.ledger.Try(one, two)
	resp, err := w.client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(one.Key), ">", -1)).Then(ops...).Commit()
	switch {
	case errors.Is(err, rpctypes.ErrCompacted):
		w.ledger.Refused(attempt)
	case err != nil:
		w.ledger.Unknown(attempt)
	default:
		w.ledger.Acked(attempt, resp.Header.Revision, true)
	}
	return err
}

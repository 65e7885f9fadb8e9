package cluster

import (
	"fmt"
	"sync"
	"time"
)

func watchScenarios() []scenario {
	return []scenario{
		// etcd answered a request for progress past the queue of events.
		{"etcd-15220", "progress is told before the events", 3,
			with("--watch-progress-notify-interval=100ms"), (*known).earlyProgress},
		// etcd's read buffer held writes of a transaction twice when they were not in the order of
		// their keys; watches that catch up read from there.
		{"etcd-17247", "events come twice", 3, brisk, (*known).twice},
		// etcd left out what had been compacted when a watch that nobody read went on.
		{"etcd-17529", "a starved watch loses events", 1, nil, (*known).starved},
		// etcd told progress to watches whose first revision had not come; a client sees that when
		// it learns a revision from one member and watches on another, which is behind.
		{"etcd-20221-progress", "a watch of a future revision is told of progress", 3,
			with("--watch-progress-notify-interval=100ms"), (*known).futureProgress},
	}
}

const (
	// slowReader is what a slow reader waits after each response, askEvery what passes between two
	// requests for progress on a stream.
	slowReader = 3 * time.Millisecond
	askEvery   = 2 * time.Millisecond

	// bulky is the size of values that fill queues, in bytes.
	bulky = 6 << 10
)

// asker asks for progress on streams all the time, until the function that it returns is called.
func (k *known) asker(streams ...*stream) (stop func()) {
	done := make(chan struct{})
	var tasks sync.WaitGroup
	for _, s := range streams {
		tasks.Go(func() {
			tick := time.NewTicker(askEvery)
			defer tick.Stop()
			for s.ask() == nil {
				select {
				case <-tick.C:
				case <-done:
					return
				case <-k.ctx.Done():
					return
				}
			}
		})
	}
	stop = sync.OnceFunc(func() {
		close(done)
		tasks.Wait()
	})
	k.Cleanup(stop)
	return stop
}

// add adds a watch to a stream and waits until it is confirmed.
func (k *known) add(s *stream, prefix string, from int64, notify, previous bool) *tap {
	k.Helper()
	w, err := s.watch(prefix, from, notify, previous)
	k.must(err)
	k.until("a watch", func() bool { return s.made(w) })
	return w
}

// earlyProgress watches large values on each member, on streams that are read slowly and with new
// watches that have to catch up, and asks how far they are all the time.
func (k *known) earlyProgress() {
	members := k.cluster.Members()
	l := k.load(2, mix{puts: 60, deletes: 10, txns: 30, keys: 10, bytes: bulky}, members...)
	var streams []*stream
	for _, m := range members {
		streams = append(streams, k.stream(m, 0), k.stream(m, slowReader))
	}
	stop := k.asker(streams...)
	for round := range k.rounds(6) {
		from := max(1, k.extend(members[0])-20)
		for i, s := range streams {
			prefix := []string{"", "w1", "w4"}[(round+i)%3]
			_, err := s.watch(prefix, from, i%2 == round%2, round%3 == 0)
			k.must(err)
		}
		k.acks(40)
	}
	l.stop()
	now := k.extend(members[0])
	var events, told int
	for _, s := range streams {
		events += s.check(k)
		s.is(func() bool {
			s.ordered = true // there are no new watches any more
			return true
		})
		k.until("progress", func() bool { return s.is(func() bool { return s.told(now) }) })
	}
	stop()
	for _, s := range streams {
		s.check(k) // what was told since, too
		s.close()
		told += s.asked
	}
	k.tell("%d watches on 3 members, %d events of %d KiB, progress told %d times: never too early",
		len(streams)*k.rounds(6), events, bulky>>10, told)
}

// told says whether all watches of a stream were told that they are at a revision.
func (s *stream) told(revision int64) bool {
	for _, w := range s.watches {
		n := len(w.Progress)
		if n == 0 || w.Progress[n-1].Revision < revision {
			return false
		}
	}
	return true
}

// twice writes several keys at a time, reads them in the same transactions, changes the leader, and
// opens watches of what has just been written.
func (k *known) twice() {
	members := k.cluster.Members()
	l := k.load(4, mix{puts: 50, txns: 50, keys: 4}, members...)
	var streams []*stream
	for _, m := range members {
		streams = append(streams, k.stream(m, 0))
	}
	var watches int
	for range k.rounds(2) {
		for range 8 {
			k.acks(20)
			_, _, newest := k.ledger.Counts()
			for _, s := range streams {
				_, err := s.watch("", max(1, newest-k.rng.Int64N(60)), false, true)
				k.must(err)
				watches++
			}
		}
		k.must(k.cluster.yield(k.ctx, k.scene().Leader))
	}
	l.stop()
	k.settle()
	var events int
	for _, s := range streams {
		events += s.check(k)
	}
	k.tell("%d watches of the latest past, opened while %d leaders changed: %d events up to "+
		"revision %d, each once", watches, k.rounds(2), events, k.history.Revision)
}

// starved does not read a stream of many watches while much is written. When it is read again, each
// watch has each event once. Then the same with a compaction of what was not read: a watch has no
// gap before it is told that it was compacted.
func (k *known) starved() {
	const writers = 16
	m := k.cluster.Members()[0]
	mix := mix{puts: 80, deletes: 10, txns: 10, keys: 10, bytes: bulky}
	l := k.load(writers, mix, m)
	s, reader := k.stream(m, 0), k.stream(m, 0)
	k.add(reader, "", 1, false, false)
	for i := range 60 {
		k.add(s, fmt.Sprintf("w%d/", 1+i%writers), 1, i%2 == 0, i%3 == 0)
	}
	k.add(s, "", 1, false, true)
	release := k.hold(s)
	k.acks(k.rounds(1200))
	release()
	l.stop()
	k.extend(m)
	events := s.check(k)

	release = k.hold(s)
	l = k.load(writers, mix, m) // with other names: what watches everything gets it
	for i := range writers {
		_, err := s.watch(fmt.Sprintf("w%d/", 1+writers+i), 1, false, false)
		k.must(err)
	}
	k.acks(k.rounds(800))
	now := k.extend(m)
	_, err := m.Client().Compact(k.ctx, now)
	k.must(err)
	k.acks(100)
	l.stop()
	k.extend(m)
	s.is(func() bool {
		for _, w := range s.watches {
			w.Previous = false // what was before may have gone
		}
		return true
	})
	release()
	events += s.check(k) + reader.check(k)
	s.close()
	var compacted int
	for _, w := range s.watches {
		if w.ended {
			compacted++
			if w.compacted != now {
				k.fail(fmt.Errorf("a watch was cancelled for a compaction at %d, not %d",
					w.compacted, now))
			}
		}
	}
	k.tell("%d watches on a stream that nobody read: %d events of %d KiB, each once; %d were then "+
		"cancelled for a compaction, and had no gap before", len(s.watches), events, bulky>>10,
		compacted)
}

// futureProgress watches, on a member that is behind, from the revision that the next write will
// have, and asks for progress all the time; there is none until that revision has come.
func (k *known) futureProgress() {
	w := k.writer(k.dial(k.cluster.Endpoints()...), mix{keys: 1})
	var told int
	for range k.rounds(2) {
		scene := k.scene()
		behind := scene.Followers[0]
		w.client = scene.Leader.Client()
		idle, future, both := k.stream(behind, 0), k.stream(behind, 0), k.stream(behind, 0)
		k.revision(behind)
		k.cluster.Mesh.Isolate(behind.Name)
		var newest int64
		for i := range 20 {
			var err error
			newest, err = w.put(k.ctx, fmt.Sprint(i))
			k.must(err)
		}
		control := k.add(idle, "", 0, true, false)
		waits := k.add(future, "", newest+1, true, false)
		other := k.add(both, "", 0, true, false)
		also := k.add(both, "", newest+1, true, false)
		stop := k.asker(future, both)
		k.until("progress of watches that wait for nothing", func() bool {
			return idle.is(func() bool { return len(control.Progress) > 1 }) &&
				both.is(func() bool { return len(other.Progress) > 1 })
		})
		k.cluster.Mesh.HealAll()
		k.recover()
		for i := range 5 {
			var err error
			newest, err = w.put(k.ctx, fmt.Sprint(i))
			k.must(err)
		}
		k.until("progress", func() bool {
			return future.is(func() bool { return future.told(newest) }) &&
				both.is(func() bool { return both.told(newest) })
		})
		stop()
		k.extend(behind)
		for _, s := range []*stream{idle, future, both} {
			s.check(k)
			s.close()
		}
		for _, t := range []*tap{waits, also} {
			told += len(t.Progress)
			if t.early < t.From {
				k.fail(fmt.Errorf("progress up to revision %d was told to a watch from revision %d",
					t.early, t.From))
			}
		}
	}
	k.tell("%d watches from revisions that their member did not have yet: told of progress %d "+
		"times, always later", 2*k.rounds(2), told)
}

package cluster

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func pauseScenarios() []scenario {
	return []scenario{
		// An etcd that had been paused took itself for the leader and answered reads for which a
		// quorum had confirmed an earlier round.
		{"etcd-20418", "a paused leader answers a stale read", 3, brisk, (*known).staleReads},
	}
}

const (
	// pausedClients have pausedReads each under way when a paused leader goes on.
	pausedClients, pausedReads = 4, 12

	// socketTime is what reads get to come to the socket of a paused member. If it is too short
	// they come later, and the test sees less.
	socketTime = 30 * time.Millisecond

	// staleTimeout bounds a read that waits for a member that is paused.
	staleTimeout = 10 * time.Second
)

// clockKey is put again and again.
const clockKey = "clock"

// staleReads pauses the leader, lets the others go on, and reads at the leader that was in the
// moment in which it goes on: nothing that it answers is older than what was acknowledged before
// the question.
func (k *known) staleReads() {
	var answered, refused, old atomic.Int64
	var reads sync.WaitGroup
	defer reads.Wait()
	for range k.rounds(3) {
		scene := k.scene()
		leader := scene.Leader
		var readers []*clientv3.Client
		for range pausedClients {
			c := k.dial(leader.Endpoint())
			_, err := c.Get(k.ctx, clockKey) // it is connected
			k.must(err)
			readers = append(readers, c)
		}
		// The old leader has entries under way when it stops, and gets more when it goes on.
		l := k.load(2, mix{puts: 80, txns: 20, keys: 10}, leader)
		k.acks(20)
		k.must(leader.Pause())
		clock := k.clock(scene.Followers...)
		k.until("a write without the old leader", func() bool { return clock.acked.Load() > 5 })

		read := func(c *clientv3.Client) {
			answer, err := clock.read(k.ctx, c)
			switch {
			case err != nil:
				k.fail(err)
			case answer:
				answered.Add(1)
			default:
				refused.Add(1)
			}
		}
		serializable := func(c *clientv3.Client) {
			floor := clock.revision.Load()
			resp, err := c.Get(k.ctx, clockKey, clientv3.WithSerializable())
			if err == nil && resp.Header.Revision < floor {
				old.Add(1) // as it may be: the member is behind indeed
			}
		}
		for _, c := range readers {
			for range pausedReads {
				reads.Go(func() { read(c) })
			}
			reads.Go(func() { serializable(c) })
		}
		pause(k.ctx, socketTime)
		k.must(leader.Resume())
		for range pausedReads { // while it finds out
			for _, c := range readers {
				reads.Go(func() { read(c) })
			}
			pause(k.ctx, time.Millisecond)
		}
		reads.Wait()
		clock.stop()
		l.stop()
		k.recover()
	}
	k.settle()
	if answered.Load() == 0 {
		k.fail(fmt.Errorf("none of %d reads was answered", refused.Load()))
	}
	k.tell("%d leaders paused: %d linearizable reads answered and %d refused when they went on, "+
		"none of them stale; of %d serializable ones %d were", k.rounds(3), answered.Load(),
		refused.Load(), k.rounds(3)*pausedClients, old.Load())
}

// ticker puts the next number all the time, so that every moment has a newest acknowledged one.
type ticker struct {
	acked    atomic.Int64 // number
	revision atomic.Int64 // of that number
	tasks    sync.WaitGroup
	end      context.CancelFunc
}

// clock starts a ticker that writes through some members.
func (k *known) clock(members ...*Member) *ticker {
	var endpoints []string
	for _, m := range members {
		endpoints = append(endpoints, m.Endpoint())
	}
	c := &ticker{}
	w := k.writer(k.dial(endpoints...), mix{keys: 1})
	var ctx context.Context
	ctx, c.end = context.WithCancel(k.ctx)
	c.tasks.Go(func() {
		for ctx.Err() == nil {
			call, cancel := context.WithTimeout(context.Background(), opTimeout)
			revision, err := w.put(call, clockKey)
			cancel()
			if err == nil {
				c.revision.Store(revision)
				c.acked.Add(1)
			}
		}
	})
	k.Cleanup(c.stop)
	return c
}

func (c *ticker) stop() {
	c.end()
	c.tasks.Wait()
}

// read reads the clock and complains about an answer that is older than the question.
func (c *ticker) read(ctx context.Context, client *clientv3.Client) (answered bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, staleTimeout)
	defer cancel()
	floor := c.revision.Load()
	resp, err := client.Get(ctx, clockKey)
	if err != nil {
		return false, nil // a member that does not know the leader may refuse
	}
	if resp.Header.Revision < floor || len(resp.Kvs) == 0 || resp.Kvs[0].ModRevision < floor {
		return true, fmt.Errorf("a read that began after revision %d was acknowledged was "+
			"answered at revision %d with %v", floor, resp.Header.Revision, resp.Kvs)
	}
	return true, nil
}

package node

import (
	"sync/atomic"
	"testing"

	"github.com/cairnkv/cairn/command"
	"go.etcd.io/raft/v3/raftpb"
)

// roundCounter counts the heartbeats that ask for a read point.
type roundCounter struct {
	Transport
	rounds atomic.Int64
}

func (c *roundCounter) Send(messages []*raftpb.Message) {
	for _, m := range messages {
		if m.GetType() == raftpb.MsgHeartbeat && len(m.GetContext()) > 0 {
			c.rounds.Add(1)
		}
	}
	c.Transport.Send(messages)
}

// together queues a write and a read at the leader so that one pass of its loop sees both.
func (r *rig) together(key string) (wrote, read chan error) {
	wrote, read = make(chan error, 1), make(chan error, 1)
	r.node.calls.put(func(*Core) {
		now := r.node.cfg.Clock.Now()
		r.node.reads.put(func(err error) { read <- err }, now)
		r.node.proposals.put(proposal{kind: command.Put, request: putRequest(key, "x"), at: now,
			done: func(_ []byte, err error) { wrote <- err }})
	})
	return wrote, read
}

// A leader that has entries under way needs no heartbeats to tell that it leads; one that has none
// does.
func TestBusyLeaderReadsWithoutARound(t *testing.T) {
	e := newEnsemble(t, 3)
	lead := e.rigs[e.leader()]
	if o := lead.put("a", "x"); o.err != nil {
		t.Fatal(o.err)
	}
	counter := lead.node.cfg.Transport.(*roundCounter)
	counter.rounds.Store(0)
	for range 20 {
		wrote, read := lead.together("b")
		if err := <-read; err != nil {
			t.Fatal(err)
		}
		if err := <-wrote; err != nil {
			t.Fatal(err)
		}
	}
	if n := counter.rounds.Load(); n != 0 {
		t.Errorf("%d heartbeats asked for read points", n)
	}
	if err := lead.barrier(); err != nil {
		t.Fatal(err)
	}
	if counter.rounds.Load() == 0 {
		t.Error("an idle leader answered a read without asking anyone")
	}
}

// What a leader appends itself proves nothing while nobody acknowledges it.
func TestIsolatedLeaderReadsNothingOnItsEntries(t *testing.T) {
	e := newEnsemble(t, 3)
	old := e.leader()
	e.net.isolate(old, true)
	wrote, read := e.rigs[old].together("lost")
	now := e.leader(old)
	if o := e.rigs[now].put("a", "2"); o.err != nil {
		t.Fatal(o.err)
	}
	if err := <-read; err == nil {
		t.Error("a leader that was cut off answered a linearizable read")
	}
	if err := <-wrote; err == nil {
		t.Error("a leader that was cut off acknowledged a write")
	}
	e.net.isolate(old, false)
	e.leader()
	e.equal()
}

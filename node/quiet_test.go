package node

import (
	"bytes"
	"context"
	"runtime/debug"
	"sync"
	"testing"

	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/state"
	"github.com/cairnkv/cairn/task"
	"github.com/cairnkv/cairn/vfs"
)

// toldBy puts a number of keys at once, waits, and counts who told their clients.
func (r *rig) toldBy(t *testing.T, puts int) (writer, applier int) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	r.node.turn.Lock(task.Tasks{}) // until all are there
	for range puts {
		wg.Add(1)
		r.node.Propose(command.Put, putRequest("k", "v"), func(_ []byte, err error) {
			defer wg.Done()
			mu.Lock()
			defer mu.Unlock()
			switch stack := debug.Stack(); {
			case err != nil:
				t.Error(err)
			case bytes.Contains(stack, []byte("runWriter")):
				writer++
			case bytes.Contains(stack, []byte("runApplier")):
				applier++
			}
		})
	}
	r.node.turn.Unlock()
	wg.Wait()
	return writer, applier
}

// A put by itself is carried through by the writer; under load, and in a divided node, the applier
// does its part. Now and then a tick makes the pass in which a put is committed.
func TestWhoApplies(t *testing.T) {
	for _, c := range []struct {
		name         string
		sequence     uint64
		puts, rounds int
		most         string // who tells more
	}{
		{"by itself", 2, 1, 200, "writer"},
		{"divided", 2 | divided, 1, 200, "applier"},
		{"load", 2, 50 * quietCommands, 10, "applier"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := mustOpen(t, vfs.NewMem(), c.sequence)
			defer r.close(t)
			var writer, applier int
			for range c.rounds {
				w, a := r.toldBy(t, c.puts)
				writer, applier = writer+w, applier+a
			}
			t.Logf("the writer told %d, the applier %d", writer, applier)
			if sum := writer + applier; sum != c.puts*c.rounds {
				t.Errorf("%d were told, not %d", sum, c.puts*c.rounds)
			}
			if (writer > applier) != (c.most == "writer") {
				t.Errorf("most were not told by the %s", c.most)
			}
			if c.name == "divided" && writer > 0 {
				t.Error("a divided node's writer applies")
			}
		})
	}
}

// Of two goroutines that have a part in turn, none goes on with it when it was left in the midst of
// something: a checkpoint would hold half an entry, a batch would be proposed twice.
func TestNobodyGoesOn(t *testing.T) {
	visited := func(*state.Machine) { t.Error("someone looks at the machine") }
	for _, c := range []struct {
		name string
		fail func(r *rig)
	}{
		{"a command of a later version", func(r *rig) {
			r.machine.Lack(func(k command.Kind) bool { return k == command.DeleteRange })
			r.node.Propose(command.DeleteRange, nil, func([]byte, error) {})
		}},
		{"a panic of raft", func(r *rig) {
			r.node.call(func(*Core) { panic("tocommit is out of range") })
		}},
	} {
		for _, sequence := range []uint64{2, 2 | divided} {
			r := mustOpen(t, vfs.NewMem(), sequence)
			if o := r.put("a", "1"); o.err != nil {
				t.Fatal(o.err)
			}
			c.fail(r)
			t.Logf("%s: %v", c.name, <-r.fatal)
			r.node.visits.put(visited)
			if r.node.pass(byLoop) {
				t.Errorf("%s: another pass is made", c.name)
			}
			if r.node.apply() {
				t.Errorf("%s: the applier goes on", c.name)
			}
			r.node.handOutAgain()
			if _, ok := r.node.applyHere(); ok {
				t.Errorf("%s: the writer goes on", c.name)
			}
			r.close(t)
		}
	}
}

// handOutAgain gives the applier something.
func (n *Node) handOutAgain() { n.applies.put(nil) }

// A leader whose writer hangs in what it applies hands over as one whose raft log hangs.
func TestClusterHangsApplying(t *testing.T) {
	const quiet = 2
	e := newEnsemble(t, 3)
	if e.leader() != quiet {
		must(t, e.rigs[e.leader()].node.Transfer(context.Background(), quiet))
	}
	r := e.rigs[quiet]
	release := make(chan struct{})
	for hangs := false; !hangs; { // until it is the writer that tells
		on := make(chan bool)
		r.node.Propose(command.Put, putRequest("h", "1"), func(_ []byte, err error) {
			byWriter := bytes.Contains(debug.Stack(), []byte("runWriter"))
			on <- byWriter
			if byWriter {
				<-release
			}
		})
		hangs = <-on
	}
	waits := make(chan error, 1)
	r.node.Propose(command.Put, putRequest("i", "1"), func(_ []byte, err error) { waits <- err })
	now := e.leader(quiet)
	if o := e.rigs[now].put("a", "1"); o.err != nil {
		t.Error(o.err)
	}
	close(release)
	<-waits
	e.leader()
	e.equal()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

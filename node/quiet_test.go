package node

import (
	"bytes"
	"runtime/debug"
	"sync"
	"testing"

	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/vfs"
)

// toldBy puts a number of keys at once, waits, and counts who told their clients.
func (r *rig) toldBy(t *testing.T, puts int) (writer, applier int) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
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

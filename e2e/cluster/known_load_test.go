package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairnkv/cairn/check"
)

// foreignPrefix is of keys that the ledger knows nothing of: those with leases.
const foreignPrefix = "foreign/"

// isForeign says whether a key is none of the writers'.
func isForeign(key string) bool { return strings.HasPrefix(key, foreignPrefix) }

// mix says what writers do: how often each kind of request comes, in parts of all, on how many keys
// each, and of how many bytes values are at least.
type mix struct {
	puts, deletes, txns, leases int
	keys, bytes                 int
}

// load is a number of writers at work.
type load struct {
	tasks sync.WaitGroup
	end   context.CancelFunc
}

// stop ends the writers and returns when their last requests have ended.
func (l *load) stop() {
	l.end()
	l.tasks.Wait()
}

// load starts n writers for each of some members; each has one request at a time. They are at work
// until the load is stopped, or the test ends.
func (k *known) load(n int, mix mix, members ...*Member) *load {
	k.Helper()
	l := &load{}
	var ctx context.Context
	ctx, l.end = context.WithCancel(k.ctx)
	k.Cleanup(l.stop)
	for _, m := range members {
		client := k.dial(m.Endpoint())
		for range n {
			w := k.writer(client, mix)
			l.tasks.Go(func() { w.run(ctx) })
		}
	}
	return l
}

// writer sends one request after the other, and notes in the ledger what came of them.
type writer struct {
	client *clientv3.Client
	ledger *check.Ledger
	rng    *rand.Rand
	mix    mix
	name   string
	count  int
}

// writer returns a writer with keys of its own.
func (k *known) writer(client *clientv3.Client, mix mix) *writer {
	w := &writer{client: client, ledger: k.ledger, rng: k.random(), mix: mix}
	w.name = fmt.Sprintf("w%d", k.clients)
	return w
}

// run writes until the context ends.
func (w *writer) run(ctx context.Context) {
	for ctx.Err() == nil {
		if w.step() != nil {
			pause(ctx, retryWait)
		}
	}
}

// step sends one request. Its context is its own: one that the test cuts off would have an unknown
// fate.
func (w *writer) step() error {
	ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
	defer cancel()
	m := w.mix
	switch p := w.rng.IntN(m.puts + m.deletes + m.txns + m.leases); {
	case p < m.puts:
		_, err := w.put(ctx, w.key())
		return err
	case p < m.puts+m.deletes:
		_, err := w.delete(ctx, w.key())
		return err
	case p < m.puts+m.deletes+m.txns:
		return w.txn(ctx)
	default:
		return w.lease(ctx)
	}
}

// key returns one of the writer's keys.
func (w *writer) key() string { return fmt.Sprintf("%s/%d", w.name, w.rng.IntN(w.mix.keys)) }

// value returns a value that no request has had before.
func (w *writer) value() string {
	w.count++
	v := fmt.Sprintf("%s-%d", w.name, w.count)
	return v + strings.Repeat(padding, max(0, w.mix.bytes-len(v)))
}

// put puts a key and returns the revision.
func (w *writer) put(ctx context.Context, key string) (int64, error) {
	c := check.Change{Key: key, Value: w.value()}
	a := w.ledger.Try(c)
	resp, err := w.client.Put(ctx, c.Key, c.Value)
	if err != nil {
		w.ledger.Unknown(a)
		return 0, err
	}
	w.ledger.Acked(a, resp.Header.Revision, true)
	return resp.Header.Revision, nil
}

// delete deletes a key, which need not be there, and returns the revision.
func (w *writer) delete(ctx context.Context, key string) (int64, error) {
	a := w.ledger.Try(check.Change{Key: key, Delete: true})
	resp, err := w.client.Delete(ctx, key)
	if err != nil {
		w.ledger.Unknown(a)
		return 0, err
	}
	w.ledger.Acked(a, resp.Header.Revision, resp.Deleted == 1)
	return resp.Header.Revision, nil
}

// txn puts two keys that are not in the order of their names, deletes a third one, and reads all,
// in one revision; or nothing is done, if the third key is not there.
func (w *writer) txn(ctx context.Context) error {
	key := w.key()
	two := check.Change{Key: key + "/two", Value: w.value()}
	one := check.Change{Key: key + "/one", Value: w.value()}
	gone := check.Change{Key: w.key(), Delete: true}
	a := w.ledger.Try(two, gone, one)
	resp, err := w.client.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(gone.Key), ">", 0)).
		Then(clientv3.OpGet(w.name, clientv3.WithPrefix()), clientv3.OpPut(two.Key, two.Value),
			clientv3.OpDelete(gone.Key), clientv3.OpGet(w.name, clientv3.WithPrefix()),
			clientv3.OpPut(one.Key, one.Value)).
		Else(clientv3.OpGet(gone.Key)).
		Commit()
	if err != nil {
		w.ledger.Unknown(a)
		return err
	}
	w.ledger.Acked(a, resp.Header.Revision, resp.Succeeded)
	return nil
}

// lease puts a key with a lease and mostly takes the lease back, so that its end deletes the key.
func (w *writer) lease(ctx context.Context) error {
	l, err := w.client.Grant(ctx, int64(leaseTTL.Seconds()))
	if err != nil {
		return err
	}
	w.count++
	key := fmt.Sprintf("%s%s/%d", foreignPrefix, w.name, w.count)
	if _, err := w.client.Put(ctx, key, w.name, clientv3.WithLease(l.ID)); err != nil {
		return err
	}
	if w.rng.IntN(4) > 0 {
		_, err = w.client.Revoke(ctx, l.ID)
	}
	return err
}

package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairnkv/cairn/check"
)

const (
	// kvPrefix is of the keys that workers write, and nobody else.
	kvPrefix = "kv/"

	// keysOfEpoch is how many keys all workers share at a time: few, so that they meet. After each
	// fault come new ones, so that the history of each stays short enough to be checked.
	keysOfEpoch = 6

	// opTimeout bounds a worker's request, thinkTime is its pause after each.
	opTimeout = 1500 * time.Millisecond
	thinkTime = 8 * time.Millisecond
)

// worker sends one request after the other with a client of its own.
type worker struct {
	id       int
	client   *clientv3.Client
	recorder *Recorder
	epoch    *atomic.Int64
	rng      *rand.Rand
	count    int
	known    map[string]int64 // key -> revision of modification, as last seen
	newest   int64            // revision, as last seen
}

// run works until the context ends. A request that is underway then is waited for.
func (w *worker) run(ctx context.Context) {
	w.known = make(map[string]int64)
	for ctx.Err() == nil {
		w.step()
		select {
		case <-time.After(time.Duration(w.rng.Int64N(int64(2 * thinkTime)))):
		case <-ctx.Done():
		}
	}
}

// key returns one of the keys of now.
func (w *worker) key() string {
	return fmt.Sprintf("%s%d/%d", kvPrefix, w.epoch.Load(), w.rng.IntN(keysOfEpoch))
}

// op returns a new operation; a value to put is one that no other has.
func (w *worker) op(kind check.Kind, key string) *check.Op {
	o := &check.Op{Client: w.id, Kind: kind, Key: key}
	if kind == check.Put || kind == check.Swap {
		w.count++
		o.Value = fmt.Sprintf("%d-%d", w.id, w.count)
	}
	return o
}

// step sends one request.
func (w *worker) step() {
	ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
	defer cancel()
	key := w.key()
	switch p := w.rng.IntN(100); {
	case p < 25:
		w.put(ctx, w.op(check.Put, key))
	case p < 35:
		w.delete(ctx, w.op(check.Delete, key))
	case p < 50:
		w.swap(ctx, w.op(check.Swap, key))
	case p < 60:
		w.pair(ctx, check.Put, key)
	case p < 65:
		w.pair(ctx, check.Get, key)
	case p < 80:
		w.get(ctx, w.op(check.Get, key))
	case p < 93 || w.newest == 0:
		w.get(ctx, w.op(check.GetSerializable, key), clientv3.WithSerializable())
	default:
		o := w.op(check.GetPast, key)
		o.Expect = 1 + w.rng.Int64N(w.newest)
		w.get(ctx, o, clientv3.WithRev(o.Expect))
	}
}

// finish notes what came of operations.
func (w *worker) finish(err error, revision func() int64, ops ...*check.Op) {
	if err != nil {
		w.recorder.Unanswered(ops...)
		return
	}
	r := revision()
	w.newest = max(w.newest, r)
	for _, o := range ops {
		switch {
		case o.Writes() && o.Kind != check.Delete:
			w.known[o.Key] = r
		case o.Kind == check.Get || o.Kind == check.Swap || o.Kind == check.GetSerializable:
			w.known[o.Key] = o.Found.Modified
		}
	}
	w.recorder.Answered(r, ops...)
}

// value converts what a key was found to have; an empty list is nothing.
func value[KV interface {
	GetValue() []byte
	GetCreateRevision() int64
	GetModRevision() int64
	GetVersion() int64
}](kvs ...KV) check.Value {
	if len(kvs) == 0 || kvs[0].GetModRevision() == 0 {
		return check.Value{}
	}
	kv := kvs[0]
	return check.Value{Value: string(kv.GetValue()), Created: kv.GetCreateRevision(),
		Modified: kv.GetModRevision(), Version: kv.GetVersion()}
}

// put puts, half of the time with a question for what was there before.
func (w *worker) put(ctx context.Context, o *check.Op) {
	var opts []clientv3.OpOption
	if o.HasFound = w.rng.IntN(2) == 0; o.HasFound {
		opts = append(opts, clientv3.WithPrevKV())
	}
	w.recorder.Begin(o)
	resp, err := w.client.Put(ctx, o.Key, o.Value, opts...)
	if err == nil && resp.PrevKv != nil {
		o.Found = value(resp.PrevKv)
	}
	w.finish(err, func() int64 { return resp.Header.Revision }, o)
}

// delete deletes one key and asks for what it was.
func (w *worker) delete(ctx context.Context, o *check.Op) {
	o.HasFound = true
	w.recorder.Begin(o)
	resp, err := w.client.Delete(ctx, o.Key, clientv3.WithPrevKV())
	if err == nil {
		o.Done = resp.Deleted == 1
		o.Found = value(resp.PrevKvs...)
	}
	w.finish(err, func() int64 { return resp.Header.Revision }, o)
}

// swap puts if the key is as the worker saw it last, and reads it otherwise.
func (w *worker) swap(ctx context.Context, o *check.Op) {
	o.Expect = w.known[o.Key]
	w.recorder.Begin(o)
	resp, err := w.client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(o.Key), "=", o.Expect)).
		Then(clientv3.OpPut(o.Key, o.Value)).Else(clientv3.OpGet(o.Key)).Commit()
	if err == nil {
		if o.Done = resp.Succeeded; !o.Done {
			o.HasFound = true
			o.Found = value(resp.Responses[0].GetResponseRange().Kvs...)
		}
	}
	w.finish(err, func() int64 { return resp.Header.Revision }, o)
}

// pair puts or reads two keys in one transaction.
func (w *worker) pair(ctx context.Context, kind check.Kind, key string) {
	one, two := w.op(kind, key), w.op(kind, w.key())
	if one.Key == two.Key {
		two.Key += "/second"
	}
	var ops []clientv3.Op
	for _, o := range []*check.Op{one, two} {
		if kind == check.Put {
			ops = append(ops, clientv3.OpPut(o.Key, o.Value))
		} else {
			o.HasFound = true
			ops = append(ops, clientv3.OpGet(o.Key))
		}
	}
	w.recorder.Begin(one, two)
	resp, err := w.client.Txn(ctx).Then(ops...).Commit()
	if err == nil && kind == check.Get {
		one.Found = value(resp.Responses[0].GetResponseRange().Kvs...)
		two.Found = value(resp.Responses[1].GetResponseRange().Kvs...)
	}
	w.finish(err, func() int64 { return resp.Header.Revision }, one, two)
}

// get reads one key.
func (w *worker) get(ctx context.Context, o *check.Op, opts ...clientv3.OpOption) {
	o.HasFound = true
	w.recorder.Begin(o)
	resp, err := w.client.Get(ctx, o.Key, opts...)
	if err == nil {
		o.Found = value(resp.Kvs...)
	}
	w.finish(err, func() int64 { return resp.Header.Revision }, o)
}

// isKV says whether a key is one of the workers'.
func isKV(key string) bool { return strings.HasPrefix(key, kvPrefix) }

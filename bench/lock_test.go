package bench

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// lockFake is as much of a store as locks and software transactions need, and writes down what it
// is asked of keys that are no locks. Its fake's mutex guards it.
type lockFake struct {
	f    *fake
	kvs  map[string]*mvccpb.KeyValue
	gone map[string]int64 // when keys were deleted last
	log  []string         // "read" and "commit", in order
	fail int              // commits that are to find a change first
}

func (l *lockFake) get(r *etcdserverpb.RangeRequest) *etcdserverpb.RangeResponse {
	resp := &etcdserverpb.RangeResponse{Header: l.f.header()}
	for k, kv := range l.kvs {
		in := k == string(r.Key) ||
			len(r.RangeEnd) > 0 && k >= string(r.Key) && k < string(r.RangeEnd)
		if in && (r.MaxCreateRevision == 0 || kv.CreateRevision <= r.MaxCreateRevision) {
			resp.Kvs = append(resp.Kvs, kv)
		}
	}
	slices.SortFunc(resp.Kvs, func(a, b *mvccpb.KeyValue) int {
		if r.SortOrder == etcdserverpb.RangeRequest_DESCEND {
			a, b = b, a
		}
		return cmp.Compare(a.CreateRevision, b.CreateRevision)
	})
	if r.Limit > 0 && len(resp.Kvs) > int(r.Limit) {
		resp.Kvs = resp.Kvs[:r.Limit]
	}
	if !strings.HasPrefix(string(r.Key), lockName) {
		l.log = append(l.log, "read")
	}
	return resp
}

func (l *lockFake) txn(r *etcdserverpb.TxnRequest) *etcdserverpb.TxnResponse {
	resp := &etcdserverpb.TxnResponse{Succeeded: true}
	if !strings.HasPrefix(string(r.Compare[0].Key), lockName) {
		l.log = append(l.log, "commit")
		if l.fail > 0 {
			l.fail--
			l.put(string(r.Compare[0].Key), nil) // somebody else was faster
		}
	}
	for _, c := range r.Compare {
		kv := l.kvs[string(c.Key)]
		if kv == nil {
			kv = &mvccpb.KeyValue{}
		}
		switch c.Target {
		case etcdserverpb.Compare_CREATE:
			resp.Succeeded = resp.Succeeded && kv.CreateRevision == c.GetCreateRevision()
		case etcdserverpb.Compare_MOD:
			equal := kv.ModRevision == c.GetModRevision()
			if c.Result == etcdserverpb.Compare_LESS {
				equal = kv.ModRevision < c.GetModRevision()
			}
			resp.Succeeded = resp.Succeeded && equal
		}
	}
	ops := r.Failure
	if resp.Succeeded {
		ops = r.Success
	}
	for _, op := range ops {
		if p := op.GetRequestPut(); p != nil {
			l.put(string(p.Key), p.Value)
			resp.Responses = append(resp.Responses, &etcdserverpb.ResponseOp{
				Response: &etcdserverpb.ResponseOp_ResponsePut{
					ResponsePut: &etcdserverpb.PutResponse{Header: l.f.header()}}})
			continue
		}
		resp.Responses = append(resp.Responses, &etcdserverpb.ResponseOp{
			Response: &etcdserverpb.ResponseOp_ResponseRange{ResponseRange: l.get(
				op.GetRequestRange())}})
	}
	resp.Header = l.f.header()
	return resp
}

func (l *lockFake) put(key string, value []byte) {
	l.f.rev++
	old := l.kvs[key]
	kv := &mvccpb.KeyValue{Key: []byte(key), Value: value, CreateRevision: l.f.rev,
		ModRevision: l.f.rev, Version: 1}
	if old != nil {
		kv.CreateRevision, kv.Version = old.CreateRevision, old.Version+1
	}
	l.kvs[key] = kv
}

// drop deletes a key and tells who watches it.
func (l *lockFake) drop(key string) {
	l.f.rev++
	delete(l.kvs, key)
	l.gone[key] = l.f.rev
	for _, w := range l.f.watchers {
		if w.key == key {
			l.tell(w)
		}
	}
}

// tell tells a watcher that its key was deleted.
func (l *lockFake) tell(w *fakeWatcher) {
	e := l.f.event(w.id, l.gone[w.key], &etcdserverpb.PutRequest{Key: []byte(w.key)})
	e.Events[0].Type = mvccpb.Event_DELETE
	w.stream <- e
}

func newLockFake(t *testing.T) *fake {
	f := newFake(t, nil)
	f.locks = &lockFake{f: f, kvs: map[string]*mvccpb.KeyValue{}, gone: map[string]int64{}}
	return f
}

// TestLock lets clients compete for the lock: nobody's transaction may begin within another's.
func TestLock(t *testing.T) {
	f := newLockFake(t)
	r := mustRun(t, f, Options{Conns: 2, Clients: 9, Total: 150, Load: STM{Locker: ClientLock,
		WritePercent: 100}})
	if n := r.Series[0].Latency.Count(); n != 150 {
		t.Errorf("%d transactions", n)
	}
	for i, what := range f.locks.log {
		if want := []string{"read", "commit"}[i%2]; what != want || len(f.locks.log) != 300 {
			t.Fatalf("%d calls, number %d is a %s: two clients had the lock", len(f.locks.log), i,
				what)
		}
	}
	if len(f.locks.kvs) != 1 || f.locks.kvs[strings.Repeat("0", stmKeySize)].Version != 150 {
		t.Errorf("%v", f.locks.kvs)
	}
	if f.grants != 9 || len(f.revoked) != 9 {
		t.Errorf("%d leases, %d revoked", f.grants, len(f.revoked))
	}
}

// TestRetries makes commits fail: the operation is tried again until it succeeds, with its reads.
func TestRetries(t *testing.T) {
	for _, isolation := range []Isolation{RepeatableReads, Serializable, SerializableSnapshot} {
		f := newLockFake(t)
		f.locks.fail = 5
		r := mustRun(t, f, Options{Total: 20, Load: STM{Keys: 10, PerTxn: 4, WritePercent: 50,
			Isolation: isolation}})
		reads, commits := 0, 0
		for _, what := range f.locks.log {
			if what == "read" {
				reads++
			} else {
				commits++
			}
		}
		if r.Series[0].Latency.Count() != 20 || commits != 25 || reads != 4*25 {
			t.Errorf("%s: %d commits, %d reads", isolation, commits, reads)
		}
	}
}

package cluster

import (
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairnkv/cairn/e2e"
)

// put and del make events.
func put(revision int64, key, value string) e2e.Event {
	return e2e.Event{Change: e2e.Change{Key: key, Value: value}, Revision: revision}
}

func del(revision int64, key string) e2e.Event {
	return e2e.Event{Change: e2e.Change{Key: key, Delete: true}, Revision: revision}
}

// story is a history and operations that fit it. The puts 4 and 5 and the last delete were not
// answered; 4 was done.
func story() (*e2e.History, []*Op) {
	h := &e2e.History{Revision: 7, Events: []e2e.Event{
		put(2, "kv/a", "1"), put(3, "kv/a", "2"), put(3, "kv/b", "3"), del(4, "kv/a"),
		put(5, "other", "x"), put(6, "kv/a", "4"), del(7, "kv/b"),
	}}
	at := func(o Op, start, end int) *Op {
		o.Start, o.End = time.Duration(start), time.Duration(end)
		if end == 0 {
			o.End = Forever
		}
		return &o
	}
	one, two := Value{"1", 2, 2, 1}, Value{"2", 2, 3, 2}
	four := Value{"4", 6, 6, 1}
	return h, []*Op{
		at(Op{Kind: Put, Key: "kv/a", Value: "1", Revision: 2, HasFound: true}, 10, 20),
		at(Op{Kind: Put, Key: "kv/a", Value: "2", Revision: 3}, 30, 40),
		at(Op{Kind: Put, Key: "kv/b", Value: "3", Revision: 3}, 30, 40),
		at(Op{Kind: Get, Key: "kv/a", Revision: 3, Found: two, HasFound: true}, 50, 60),
		at(Op{Kind: Delete, Key: "kv/a", Revision: 4, Done: true, Found: two, HasFound: true},
			70, 80),
		at(Op{Kind: Get, Key: "kv/a", Revision: 5, HasFound: true}, 90, 100),
		at(Op{Kind: Swap, Key: "kv/a", Value: "4"}, 110, 0),
		at(Op{Kind: Put, Key: "kv/a", Value: "5"}, 112, 0),
		at(Op{Kind: Delete, Key: "kv/b"}, 114, 0),
		at(Op{Kind: Swap, Key: "kv/a", Value: "6", Expect: 9, Revision: 6, Found: four,
			HasFound: true}, 120, 130),
		at(Op{Kind: Get, Key: "kv/b", Revision: 7, HasFound: true}, 140, 150),
		at(Op{Kind: GetSerializable, Key: "kv/a", Revision: 2, Found: one, HasFound: true}, 160,
			170),
		at(Op{Kind: GetPast, Key: "kv/a", Expect: 3, Revision: 7, Found: two, HasFound: true}, 160,
			170),
	}
}

// TestCheckers shows each lie to the checkers and demands that they notice, and the truth, which
// they must accept.
func TestCheckers(t *testing.T) {
	const states, order, registers = "states: ", "order: ", "registers: "
	tests := map[string]struct {
		lie  func([]*Op)
		want []string // who notices, and parts of what they say
	}{
		"the truth": {func([]*Op) {}, nil},
		"a stale read": {func(ops []*Op) {
			ops[3].Revision, ops[3].Found = 2, Value{"1", 2, 2, 1}
		}, []string{order + "time goes back", registers + "the answers on"}},
		"a value too early": {func(ops []*Op) {
			ops[3].Found = Value{"4", 6, 6, 1}
		}, []string{states + "a wrong answer", registers + "the answers on"}},
		"a wrong version": {func(ops []*Op) { ops[3].Found.Version = 3 },
			[]string{states + "a wrong answer", registers + "the answers on"}},
		"a wrong creation": {func(ops []*Op) { ops[4].Found.Created = 3 },
			[]string{states + "a wrong answer", registers + "the answers on"}},
		"a value that was deleted": {func(ops []*Op) { ops[5].Found = Value{"2", 2, 3, 2} },
			[]string{states + "a wrong answer", registers + "the answers on"}},
		"a delete that found nothing": {func(ops []*Op) {
			ops[4].Done, ops[4].Found = false, Value{}
		}, []string{registers + "the answers on"}},
		"a swap that should not": {func(ops []*Op) {
			ops[9].Done, ops[9].HasFound, ops[9].Found, ops[9].Revision = true, false, Value{}, 7
		}, []string{states + "a wrong decision", registers + "the answers on"}},
		"a swap that should": {func(ops []*Op) { ops[9].Expect = 6 },
			[]string{states + "a wrong decision", registers + "the answers on"}},
		"a write in the past": {func(ops []*Op) { ops[4].Revision = 3 },
			[]string{order + "time goes back", states + "a wrong answer"}},
		"a serializable read of nothing": {func(ops []*Op) { ops[11].Found = Value{} },
			[]string{states + "a wrong answer"}},
		"a wrong past": {func(ops []*Op) { ops[12].Found.Value = "1" },
			[]string{states + "a wrong answer"}},
		"a revision that is not there": {func(ops []*Op) { ops[10].Revision = 8 },
			[]string{states + "the history ends"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h, ops := story()
			tt.lie(ops)
			timeline := NewTimeline(h)
			ops = timeline.Resolve(ops)
			var said strings.Builder
			for who, err := range map[string]error{
				states: timeline.CheckStates(ops), order: CheckOrder(ops),
				registers: CheckRegisters(ops, time.Minute, t.TempDir()),
			} {
				if err != nil {
					said.WriteString(who + err.Error() + "\n")
				}
			}
			for _, want := range tt.want {
				if !strings.Contains(said.String(), want) {
					t.Errorf("nobody says %q, but\n%s", want, &said)
				}
			}
			if len(tt.want) == 0 && said.Len() > 0 {
				t.Error(said.String())
			}
		})
	}
}

// TestLockCheck shows turns at a lock that are right, and others.
func TestLockCheck(t *testing.T) {
	h := &e2e.History{Revision: 9, Events: []e2e.Event{
		put(2, "lock/1", ""), put(3, "lock/2", ""), put(4, fencedKey, "lock/1"),
		put(5, fencedKey, "lock/1"), del(6, "lock/1"), put(7, fencedKey, "lock/2"),
		put(8, "lock/1", ""), del(9, "lock/2"),
	}}
	tests := map[string]struct {
		writes []guarded
		want   string
	}{
		"the truth":  {[]guarded{{"lock/1", 4}, {"lock/1", 5}, {"lock/2", 7}}, ""},
		"too early":  {[]guarded{{"lock/1", 4}, {"lock/2", 5}}, "but lock/1 has it"},
		"too late":   {[]guarded{{"lock/1", 4}, {"lock/1", 7}}, "but lock/2 has it"},
		"not there":  {[]guarded{{"lock/1", 4}, {"lock/1", 12}}, "not in the history"},
		"once again": {[]guarded{{"lock/1", 5}, {"lock/2", 7}, {"lock/1", 9}}, "again, after"},
	}
	for name, tt := range tests {
		l := &lockers{writes: tt.writes}
		err := l.check(h)
		said := ""
		if err != nil {
			said = err.Error()
		}
		if (said == "") != (tt.want == "") || !strings.Contains(said, tt.want) {
			t.Errorf("%s: error %q, want %q", name, said, tt.want)
		}
	}
}

// TestLeaseCheck lets a key go before and after the time that was promised.
func TestLeaseCheck(t *testing.T) {
	until := time.Unix(1_000_000, 0)
	l := &tenants{all: []*tenant{{id: 1, key: "one", until: until},
		{id: 2, key: "two", until: until, revoked: true}, {id: 3, key: "three", until: until}}}
	gone := map[string]time.Time{"one": until, "two": until.Add(-time.Second)}
	deleted := func(key string) (time.Time, bool) {
		at, ok := gone[key]
		return at, ok
	}
	if err := l.checkEarly(deleted); err != nil {
		t.Errorf("all is right, but %v", err)
	}
	gone["three"] = until.Add(-1)
	if err := l.checkEarly(deleted); err == nil {
		t.Error("a key went too early, and nobody noticed")
	}
}

// TestWatchTake gives a watcher responses that it must not accept.
func TestWatchTake(t *testing.T) {
	response := func(revisions ...int64) clientv3.WatchResponse {
		var r clientv3.WatchResponse
		for _, revision := range revisions {
			r.Events = append(r.Events, &clientv3.Event{Kv: &mvccpb.KeyValue{Key: []byte("k"),
				ModRevision: revision}})
		}
		return r
	}
	tests := map[string]struct {
		responses []clientv3.WatchResponse
		ok        bool
	}{
		"in order":    {[]clientv3.WatchResponse{response(2, 3, 3), response(), response(5)}, true},
		"in pieces":   {[]clientv3.WatchResponse{response(2, 3), response(3)}, false},
		"again":       {[]clientv3.WatchResponse{response(2, 3), response(2)}, false},
		"compacted":   {[]clientv3.WatchResponse{{CompactRevision: 7}}, false},
		"progress":    {[]clientv3.WatchResponse{response(), response(2)}, true},
		"first again": {[]clientv3.WatchResponse{response(2), response(2)}, false},
	}
	for name, tt := range tests {
		w := newWatcher(name, nil)
		var err error
		for _, r := range tt.responses {
			if err == nil {
				err = w.take(r)
			}
		}
		if (err == nil) != tt.ok {
			t.Errorf("%s: error %v, want one: %v", name, err, !tt.ok)
		}
	}
}

// TestSteadyLost compares what was put at last with what is there.
func TestSteadyLost(t *testing.T) {
	s := &Steady{last: map[string]int{"a": 3, "b": 1}}
	if err := s.lost(map[string]string{"a": "3", "b": "2"}); err != nil {
		t.Errorf("all is there, but %v", err)
	}
	for _, found := range []map[string]string{{"a": "2", "b": "1"}, {"a": "3"}} {
		if err := s.lost(found); err == nil {
			t.Errorf("%v has lost a write, and nobody noticed", found)
		}
	}
}

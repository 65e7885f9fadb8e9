package cluster

import (
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

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

package cluster

import (
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairnkv/cairn/e2e"
)

// TestGrow lets a cluster of one grow, replaces every member by a new one, and shrinks it to one
// again, under load: no request may need more than one retry, and none may be lost.
func TestGrow(t *testing.T) {
	t.Parallel()
	rng, seed := newRandom(t)
	ctx := t.Context()
	c := newCluster(t, 1)
	var clients []*clientv3.Client
	for range steadyClients {
		client, err := e2e.Dial(c.Endpoints()...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		clients = append(clients, client)
	}
	s := StartSteady(ctx, clients...)
	begin := time.Now()
	tell := func(but *Member) { // clients learn of members when those serve, and that they will go
		var endpoints []string
		for _, m := range c.Members() {
			if m != but {
				endpoints = append(endpoints, m.Endpoint())
			}
		}
		for _, client := range clients {
			client.SetEndpoints(endpoints...)
		}
	}
	step := func(what string, name string) {
		t.Logf("%6.1f s  %s %s: %d members, longest put %v", time.Since(begin).Seconds(), name,
			what, len(c.Members()), s.Longest().Round(time.Millisecond))
	}
	join := func() {
		learner := rng.IntN(2) == 0
		m, err := c.Join(ctx, learner)
		if err != nil {
			t.Fatalf("%v (seed %d)", err, seed)
		}
		tell(nil)
		step(map[bool]string{true: "learns and joins", false: "joins"}[learner], m.Name)
	}
	leave := func(m *Member) {
		tell(m)
		if err := c.Leave(ctx, m); err != nil {
			t.Fatalf("%v (seed %d)", err, seed)
		}
		step("leaves", m.Name)
	}
	for len(c.Members()) < *flagGrown {
		join()
	}
	for _, m := range c.Members() {
		leave(m)
		join()
	}
	for len(c.Members()) > 1 {
		members := c.Members()
		leave(members[rng.IntN(len(members))])
	}
	puts, retried, failed, err := s.Stop(ctx, clients[0])
	if err != nil {
		t.Errorf("%v (seed %d)", err, seed)
	}
	for _, err := range failed {
		t.Errorf("a request needed more than one retry: %v (seed %d)", err, seed)
	}
	t.Logf("%d requests, %d with one retry, %d with more", puts, retried-len(failed), len(failed))
}

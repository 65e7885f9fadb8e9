package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// These bounds are what tools that drive etcd demand; a machine that is busy gets them tenfold.
const (
	handOverBound = 500 * time.Millisecond
	stopBound     = 1500 * time.Millisecond
	patience      = 10
)

// status asks a member for its leader and term, without waiting for a quorum.
func status(ctx context.Context, t *testing.T, m *Member) *clientv3.StatusResponse {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	s, err := m.Client().Status(ctx, m.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestHandOver ends leaders with SIGTERM: the others have a new one at the very next term, and the
// process is gone soon.
func TestHandOver(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := newCluster(t, 3)
	for range 3 {
		leader, err := c.Leader(ctx)
		if err != nil {
			t.Fatal(err)
		}
		before := status(ctx, t, leader)
		began := time.Now()
		if err := leader.Quit(); err != nil {
			t.Fatal(err)
		}
		for _, m := range c.Members() {
			if m == leader {
				continue
			}
			var s *clientv3.StatusResponse
			err := Retry(ctx, patience*handOverBound, func(context.Context) error {
				s = status(ctx, t, m)
				if s.Leader == 0 || s.Leader == before.Leader {
					return fmt.Errorf("%s knows no new leader", m.Name)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if s.RaftTerm != before.RaftTerm+1 {
				t.Errorf("the new leader is of term %d, the old one was of term %d",
					s.RaftTerm, before.RaftTerm)
			}
		}
		led := time.Since(began)
		if err := leader.AwaitEnd(); err != nil {
			t.Fatal(err)
		}
		gone := time.Since(began)
		t.Logf("a new leader after %v (bound %v), the old one gone after %v (bound %v)",
			led.Round(time.Millisecond), handOverBound, gone.Round(time.Millisecond), stopBound)
		if gone > patience*stopBound {
			t.Errorf("the leader took %v to end", gone)
		}
		if err := leader.Start(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// TestForceNewCluster makes a cluster of one out of what a majority that is lost has left, and lets
// it grow again.
func TestForceNewCluster(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := newCluster(t, 3)
	all := c.Members()
	survivor := all[0]
	for i := range 100 {
		if _, err := all[i%3].Client().Put(ctx, fmt.Sprintf("k%d", i), "v"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := survivor.Client().Get(ctx, "k99"); err != nil { // it has applied all of them
		t.Fatal(err)
	}
	for _, m := range all {
		if err := m.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	args := survivor.Args()
	survivor.SetArgs(append(args[:len(args):len(args)], "--force-new-cluster")...)
	if err := survivor.Start(ctx); err != nil {
		t.Fatal(err)
	}
	check := func(members int) {
		t.Helper()
		list, err := survivor.Client().MemberList(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Members) != members {
			t.Fatalf("members: %v, want %d", list.Members, members)
		}
		got, err := survivor.Client().Get(ctx, "k", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil {
			t.Fatal(err)
		}
		if got.Count != 100 {
			t.Fatalf("%d keys of 100 are there", got.Count)
		}
	}
	check(1)
	if err := survivor.Kill(); err != nil {
		t.Fatal(err)
	}
	survivor.SetArgs(args...)
	if err := survivor.Start(ctx); err != nil {
		t.Fatal(err)
	}
	check(1)
	forget(t, c, all[1:]...)
	if _, err := c.Join(ctx, false); err != nil {
		t.Fatal(err)
	}
	check(2)
}

// forget drops members whose processes have ended.
func forget(t *testing.T, c *Cluster, gone ...*Member) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members = slices.DeleteFunc(c.members, func(m *Member) bool {
		return slices.Contains(gone, m)
	})
	for _, m := range gone {
		if err := errors.Join(m.client.Close(), c.Mesh.Remove(m.Name)); err != nil {
			t.Error(err)
		}
	}
}

// remove removes a member, the leader too, without making it hand over first.
func remove(ctx context.Context, t *testing.T, c *Cluster, m *Member) {
	t.Helper()
	admin, err := c.admin(m)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	// A member that was asked may not count as connected for long enough yet.
	err = Retry(ctx, healthyTimeout, func(ctx context.Context) error {
		list, err := admin.MemberList(ctx)
		if err != nil {
			return err
		}
		for _, o := range list.Members {
			if o.Name == m.Name {
				_, err = admin.MemberRemove(ctx, o.ID)
			}
		}
		return err
	})
	if err != nil {
		t.Fatalf("remove %s: %v", m.Name, err)
	}
}

// ends waits for a process that ends by itself and returns its exit status and what its log has
// gained since.
func ends(t *testing.T, m *Member, from int64) (status int, log string) {
	t.Helper()
	if err := m.AwaitEnd(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(m.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	return m.Status(), string(b[from:])
}

func logSize(t *testing.T, m *Member) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(m.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// TestRemovedEnds removes members: a running one, the leader, and one that is down. Each ends by
// itself, now or when it is started, and again at the next start.
func TestRemovedEnds(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := newCluster(t, 5)
	awaitHealthInterval(ctx, t, c)
	leader, err := c.Leader(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var follower, down *Member
	for _, m := range c.Members() {
		switch {
		case m == leader:
		case follower == nil:
			follower = m
		case down == nil:
			down = m
		}
	}
	if err := down.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*Member{follower, down, leader} {
		from := logSize(t, m)
		remove(ctx, t, c, m)
		for range 2 {
			if !m.Running() && m == down {
				if err := m.Launch(); err != nil {
					t.Fatal(err)
				}
			}
			status, log := ends(t, m, from)
			if status != 0 || !strings.Contains(log, "permanently removed from the cluster") {
				t.Errorf("%s, which was removed, ended with status %d:\n%s", m.Name, status, log)
			}
			from = logSize(t, m)
			if err := m.Launch(); err != nil {
				t.Fatal(err)
			}
		}
		if status, log := ends(t, m, from); status != 0 {
			t.Errorf("%s ended with status %d:\n%s", m.Name, status, log)
		}
	}
}

// awaitHealthInterval waits until the members count as connected for long enough to be changed.
func awaitHealthInterval(ctx context.Context, t *testing.T, c *Cluster) {
	t.Helper()
	learner := "http://127.0.0.1:1"
	err := Retry(ctx, healthyTimeout, func(ctx context.Context) error {
		added, err := c.Members()[0].Client().MemberAddAsLearner(ctx, []string{learner})
		if err != nil {
			return err
		}
		_, err = c.Members()[0].Client().MemberRemove(ctx, added.Member.ID)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestForgetful starts a member anew whose data is gone: it has forgotten what it promised to the
// others, and is refused.
func TestForgetful(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := newCluster(t, 3)
	m := c.Members()[1]
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := m.Wipe(); err != nil {
		t.Fatal(err)
	}
	for _, state := range []string{"new", "existing"} {
		c.configure(m, state, c.Members())
		from := logSize(t, m)
		if err := m.Launch(); err != nil {
			t.Fatal(err)
		}
		status, log := ends(t, m, from)
		if status == 0 || !strings.Contains(log, "has already been bootstrapped") ||
			!strings.Contains(log, "member remove") {
			t.Errorf("as %s it ended with status %d:\n%s", state, status, log)
		}
	}
	err := Retry(ctx, healthyTimeout, func(ctx context.Context) error { // it may have led
		_, err := c.Members()[0].Client().Put(ctx, "a", "b")
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

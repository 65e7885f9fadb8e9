package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairnkv/cairn/e2e"
)

// changeTimeout bounds a change of membership: a cluster refuses it for its first five seconds, and
// until a learner has caught up.
const changeTimeout = time.Minute

// admin returns a client of all members that run, but one.
func (c *Cluster) admin(but *Member) (*clientv3.Client, error) {
	var endpoints []string
	for _, m := range c.Members() {
		if m != but && m.Running() {
			endpoints = append(endpoints, m.endpoint)
		}
	}
	return e2e.Dial(endpoints...)
}

// Join makes a new member and lets it join, as a learner first if that is wanted. It returns when
// the member votes and serves clients.
func (c *Cluster) Join(ctx context.Context, learner bool) (*Member, error) {
	m, err := c.add()
	if err != nil {
		return nil, err
	}
	if err := c.enter(ctx, m, learner); err != nil {
		return nil, fmt.Errorf("%s joins: %w", m.Name, err)
	}
	return m, nil
}

// enter adds a member that has no data to the cluster's list and starts it.
func (c *Cluster) enter(ctx context.Context, m *Member, learner bool) error {
	admin, err := c.admin(m)
	if err != nil {
		return err
	}
	defer admin.Close()
	id, members, err := announce(ctx, admin, m, learner)
	if err != nil {
		return err
	}
	c.Mesh.SetID(m.Name, id)
	c.configure(m, "existing", members)
	if err := m.Start(ctx); err != nil {
		return err
	}
	if learner {
		err := Retry(ctx, changeTimeout, func(ctx context.Context) error {
			_, err := admin.MemberPromote(ctx, id)
			if err != nil && isVoter(ctx, admin, id) {
				return nil // the answer to an earlier attempt was lost
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("promote: %w", err)
		}
	}
	return Retry(ctx, healthyTimeout, m.Get)
}

// announce adds a member to the cluster's list and returns its id and the list.
func announce(ctx context.Context, admin *clientv3.Client, m *Member, learner bool) (id uint64,
	members []*Member, err error) {
	var list []*etcdserverpb.Member
	err = Retry(ctx, changeTimeout, func(ctx context.Context) error {
		known, err := admin.MemberList(ctx)
		if err != nil {
			return err
		}
		list = known.Members
		i := slices.IndexFunc(list, func(o *etcdserverpb.Member) bool {
			return slices.Contains(o.PeerURLs, m.PeerURL)
		})
		if i >= 0 {
			id = list[i].ID // the answer to an earlier attempt was lost
			return nil
		}
		add := admin.MemberAdd
		if learner {
			add = admin.MemberAddAsLearner
		}
		added, err := add(ctx, []string{m.PeerURL})
		if err != nil {
			return err
		}
		id, list = added.Member.ID, added.Members
		return nil
	})
	for _, o := range list {
		name := o.Name
		if o.ID == id {
			name = m.Name
		}
		members = append(members, &Member{Name: name, PeerURL: o.PeerURLs[0]})
	}
	return id, members, err
}

// isVoter says whether a member is in the list and not a learner.
func isVoter(ctx context.Context, admin *clientv3.Client, id uint64) bool {
	list, err := admin.MemberList(ctx)
	return err == nil && slices.ContainsFunc(list.Members, func(o *etcdserverpb.Member) bool {
		return o.ID == id && !o.IsLearner
	})
}

// strike takes a member off the cluster's list. If it leads, another one takes over first.
func (c *Cluster) strike(ctx context.Context, m *Member) error {
	if m.Running() {
		if err := c.yield(ctx, m); err != nil {
			return err
		}
	}
	admin, err := c.admin(m)
	if err != nil {
		return err
	}
	defer admin.Close()
	return Retry(ctx, changeTimeout, func(ctx context.Context) error {
		list, err := admin.MemberList(ctx)
		if err != nil {
			return err
		}
		for _, o := range list.Members {
			if o.Name == m.Name {
				if _, err = admin.MemberRemove(ctx, o.ID); err == nil {
					err = errors.New("the member is still in the list")
				}
				return err // the next attempt sees that it is gone
			}
		}
		return nil
	})
}

// yield lets another member lead if this one does.
func (c *Cluster) yield(ctx context.Context, m *Member) error {
	return Retry(ctx, changeTimeout, func(ctx context.Context) error {
		status, err := m.client.Status(ctx, m.endpoint)
		if err != nil || status.Leader != status.Header.MemberId {
			return err
		}
		for _, other := range c.Members() {
			if other == m || !other.Running() {
				continue
			}
			to, err := other.client.Status(ctx, other.endpoint)
			if err != nil {
				return err
			}
			if _, err = m.client.MoveLeader(ctx, to.Header.MemberId); err != nil {
				return err
			}
			return errors.New("the leader has not changed yet")
		}
		return nil
	})
}

// Leave removes a member from the cluster, ends its process and forgets it.
func (c *Cluster) Leave(ctx context.Context, m *Member) error {
	if err := c.strike(ctx, m); err != nil {
		return fmt.Errorf("%s leaves: %w", m.Name, err)
	}
	c.mu.Lock()
	c.members = slices.DeleteFunc(c.members, func(o *Member) bool { return o == m })
	c.mu.Unlock()
	m.Process.Close() // it ends by itself too, but not in a time that is promised
	return errors.Join(m.client.Close(), c.Mesh.Remove(m.Name))
}

// Replace removes a member that does not run, wipes its disk, and lets it join anew on the same
// addresses.
func (c *Cluster) Replace(ctx context.Context, m *Member) error {
	if err := c.strike(ctx, m); err != nil {
		return fmt.Errorf("replace %s: %w", m.Name, err)
	}
	if err := m.Wipe(); err != nil {
		return err
	}
	if err := c.enter(ctx, m, false); err != nil {
		return fmt.Errorf("replace %s: %w", m.Name, err)
	}
	return nil
}

package playground

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// errNoLeader says that the membership cannot change now.
var errNoLeader = errors.New("there is no leader: heal the links, or start members, and try again")

// via returns the client by which an order goes.
func (c *cluster) via(o order) (*clientv3.Client, error) {
	m, err := c.member(o.via)
	if err != nil {
		return nil, errNoLeader
	}
	return m.client, nil
}

// add adds a member and starts it.
func (c *cluster) add(ctx context.Context, o order) (joined, error) {
	client, err := c.via(o)
	if err != nil {
		return joined{}, err
	}
	p, err := freePorts(c.next(), c.taken())
	if err != nil {
		return joined{}, err
	}
	name := c.freeName()
	// What an earlier member of that name has left must not be taken for this one's.
	if err := os.RemoveAll(filepath.Join(c.home.dir, name)); err != nil {
		return joined{}, err
	}
	r := record{Name: name, Ports: p, State: "existing"}
	if err := c.proxy(r); err != nil {
		return joined{}, err
	}
	ask := client.MemberAdd
	if o.verb == verbAddLearner {
		ask = client.MemberAddAsLearner
	}
	resp, err := ask(ctx, []string{p.peerURL()})
	if err != nil {
		return joined{}, errors.Join(explain(err), c.mesh.Remove(name))
	}
	var initial []string
	for _, m := range resp.Members {
		initial = append(initial, c.nameOf(m.ID, resp.Member.ID, name)+"="+m.PeerURLs[0])
	}
	r.ID, r.Initial = resp.Member.ID, strings.Join(initial, ",")
	c.mesh.SetID(name, r.ID)
	c.home.Members = append(c.home.Members, r)
	m, err := c.connect(r)
	if err != nil {
		return joined{}, err
	}
	if err := errors.Join(c.home.save(), c.run(m)); err != nil {
		return joined{}, err
	}
	c.watch(m)
	return m.joined(o.verb == verbAddLearner), nil
}

// freeName is the first name that no member has.
func (c *cluster) freeName() string {
	for i := 1; ; i++ {
		name := fmt.Sprint(namePrefix, i)
		if _, err := c.member(name); err != nil {
			return name
		}
	}
}

// nameOf returns the name of a member by its id; one that is not ours gets a name from it.
func (c *cluster) nameOf(id, newID uint64, newName string) string {
	if id == newID {
		return newName
	}
	for _, r := range c.home.Members {
		if r.ID == id {
			return r.Name
		}
	}
	return fmt.Sprintf("other%x", id)
}

// forget gives up the proxy and the client of a member, and its links.
func (c *cluster) forget(m *member) error {
	c.mu.Lock()
	delete(c.members, m.Name)
	c.mu.Unlock()
	close(m.quit)
	return errors.Join(c.mesh.Remove(m.Name), ignoreCanceled(m.client.Close()))
}

// remove takes a member out of the cluster, ends its process and deletes its data.
func (c *cluster) remove(ctx context.Context, o order, m *member) error {
	if o.via == m.Name { // the leader may go too; somebody else is asked, for it ends at once
		for _, other := range c.list() {
			if other != m && other.awake() {
				o.via = other.Name
				break
			}
		}
	}
	client, err := c.via(o)
	if err != nil {
		return err
	}
	m.expectEnd()
	_, err = client.MemberRemove(ctx, m.ID)
	if err != nil && !errors.Is(err, rpctypes.ErrMemberNotFound) {
		m.unexpectEnd()
		return explain(err)
	}
	if err := m.kill(); err != nil {
		return err
	}
	c.home.Members = slices.DeleteFunc(c.home.Members, func(r record) bool {
		return r.Name == m.Name
	})
	return errors.Join(c.forget(m), c.home.save(), os.RemoveAll(m.dataDir()))
}

func (c *cluster) promote(ctx context.Context, o order, m *member) error {
	client, err := c.via(o)
	if err != nil {
		return err
	}
	_, err = client.MemberPromote(ctx, m.ID)
	return explain(err)
}

func (c *cluster) lead(ctx context.Context, o order, m *member) error {
	client, err := c.via(o)
	if err != nil {
		return err
	}
	_, err = client.MoveLeader(ctx, m.ID)
	return explain(err)
}

// explain puts errors of the server into words that say what to do.
func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer within %v: no majority, most likely", adminTimeout)
	case errors.Is(err, rpctypes.ErrMemberLearnerNotReady):
		return errors.New("it is not in sync with the leader yet: try again in a moment")
	case errors.Is(err, rpctypes.ErrUnhealthy):
		return errors.New("the others refuse while members are down, or have just come back")
	}
	return err
}

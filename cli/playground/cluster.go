package playground

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cairnkv/cairn/internal/link"
	ids "github.com/cairnkv/cairn/member"
)

var errClosed = errors.New("the playground ends")

// adminTimeout bounds a change of the membership or of the leader.
const adminTimeout = 5 * time.Second

// cluster is the members and the links between them. Its methods may be called at once; what is
// done to one member is done one after the other.
type cluster struct {
	program string
	args    []string // for every member, besides those that the playground needs
	base    int      // first port, 0: any
	home    *home
	launch  launcher
	mesh    *link.Mesh
	tell    func(event) // may be called from any goroutine

	ctx      context.Context // ends the watching
	cancel   context.CancelFunc
	watchers sync.WaitGroup
	load     loadSwitch

	admin sync.Mutex // held while the membership is changed; guards home.Members

	mu      sync.Mutex // guards the fields below
	members map[string]*member
	cuts    map[pair]bool
	closed  bool // no process is started any more
}

// prepare makes the members that the home names, or count new ones, without starting them.
func (c *cluster) prepare(count int) error {
	c.mesh = link.New(nil, nil)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.members, c.cuts = map[string]*member{}, map[pair]bool{}
	if len(c.home.Members) == 0 {
		if err := c.found(count); err != nil {
			return err
		}
	}
	for _, r := range c.home.Members {
		if err := c.proxy(r); err != nil {
			return fmt.Errorf("%w (the ports of a kept directory stay: end what uses them)", err)
		}
		if _, err := c.connect(r); err != nil {
			return err
		}
	}
	return nil
}

// found works out the records of a new cluster.
func (c *cluster) found(count int) error {
	var initial []string
	for i := range count {
		p, err := freePorts(c.next(), c.taken())
		if err != nil {
			return err
		}
		name := fmt.Sprint(namePrefix, i+1)
		initial = append(initial, name+"="+p.peerURL())
		c.home.Members = append(c.home.Members, record{
			Name: name, Ports: p, State: "new",
			ID: ids.ID([]string{p.peerURL()}, c.home.Token),
		})
	}
	for i := range c.home.Members {
		c.home.Members[i].Initial = strings.Join(initial, ",")
	}
	return c.home.save()
}

// next is the port from which the ports of one more member are looked for, 0 for any.
func (c *cluster) next() int {
	if c.base == 0 {
		return 0
	}
	base := c.base
	for taken := c.taken(); taken[base]; {
		base += portStep
	}
	return base
}

// taken are the ports for clients that members have.
func (c *cluster) taken() map[int]bool {
	taken := map[int]bool{}
	for _, r := range c.home.Members {
		taken[r.Ports.Client] = true
	}
	return taken
}

// proxy opens what stands in front of a member's port for peers.
func (c *cluster) proxy(r record) error {
	addr := func(port int) string { return fmt.Sprintf("%s:%d", host, port) }
	_, err := c.mesh.Add(r.Name, r.ID, addr(r.Ports.Proxy), addr(r.Ports.Peer))
	return err
}

// connect makes a member of a record.
func (c *cluster) connect(r record) (*member, error) {
	m, err := newMember(r, c.home.dir)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errors.Join(errClosed, m.client.Close())
	}
	c.members[r.Name] = m
	return m, nil
}

// start starts all members and tells of them.
func (c *cluster) start() error {
	for _, m := range c.list() {
		if err := c.run(m); err != nil {
			return err
		}
		c.tell(m.joined(false))
		c.watch(m)
	}
	return nil
}

func (m *member) joined(learner bool) joined {
	return joined{name: m.Name, id: m.ID, endpoint: m.Ports.endpoint(), learner: learner}
}

// run starts the process of a member.
func (c *cluster) run(m *member) error {
	return m.start(c.open, func() (process, error) {
		return c.launch.launch(c.program, m.arguments(c.home.Token, c.args), m.logFile())
	}, func(how string) { c.tell(ended{name: m.Name, how: how}) })
}

// open says whether processes may be started.
func (c *cluster) open() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.closed
}

// list returns the members by name.
func (c *cluster) list() []*member {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.SortedFunc(maps.Values(c.members), func(a, b *member) int {
		return strings.Compare(a.Name, b.Name)
	})
}

func (c *cluster) member(name string) (*member, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := c.members[name]; m != nil {
		return m, nil
	}
	return nil, fmt.Errorf("there is no member %q", name)
}

// do carries out an order and returns when that is done.
func (c *cluster) do(ctx context.Context, o order) finished {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	f := finished{order: o}
	switch o.verb {
	case verbLinks:
		c.link(o.cuts)
		return f
	case verbLoad:
		c.load.set(o.on)
		return f
	case verbAdd, verbAddLearner:
		c.admin.Lock()
		defer c.admin.Unlock()
		f.joined, f.err = c.add(ctx, o)
		return f
	}
	var m *member
	if m, f.err = c.member(o.member); f.err != nil {
		return f
	}
	switch o.verb {
	case verbKill:
		f.err = m.kill()
	case verbStart:
		f.err = c.run(m)
	case verbPause:
		f.err = m.hold(true)
	case verbResume:
		f.err = m.hold(false)
	case verbRestart:
		if f.err = m.stop(); f.err == nil {
			f.err = c.run(m)
		}
	case verbPromote:
		f.err = c.promote(ctx, o, m)
	case verbRemove:
		c.admin.Lock()
		defer c.admin.Unlock()
		f.err = c.remove(ctx, o, m)
	case verbLead:
		f.err = c.lead(ctx, o, m)
	default:
		f.err = fmt.Errorf("%q is nothing that a cluster does", o.verb)
	}
	return f
}

// link cuts and heals until exactly the given directions are cut. A member all of whose links are
// cut is isolated, so that not even what is said without a name passes.
func (c *cluster) link(cuts map[pair]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p := range c.cuts {
		if !cuts[p] {
			c.mesh.Heal(p.from, p.to)
		}
	}
	for p := range cuts {
		if !c.cuts[p] {
			c.mesh.Cut(p.from, p.to)
		}
	}
	c.cuts = cuts
	for name := range c.members {
		alone := len(c.members) > 1
		for other := range c.members {
			if other != name && (!cuts[pair{name, other}] || !cuts[pair{other, name}]) {
				alone = false
			}
		}
		if alone {
			c.mesh.Isolate(name)
		} else {
			c.mesh.Rejoin(name)
		}
	}
}

// close ends all processes, gently if their data is to be used again, and closes the links.
func (c *cluster) close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.stopWatching()
	c.admin.Lock() // what was underway has come to its end; what it started is in the list
	defer c.admin.Unlock()
	members := c.list()
	errs := make([]error, len(members))
	var wait sync.WaitGroup
	for i, m := range members {
		wait.Go(func() {
			if c.home.kept {
				errs[i] = m.stop()
			} else {
				errs[i] = m.kill()
			}
			errs[i] = errors.Join(errs[i], ignoreCanceled(m.client.Close()))
		})
	}
	wait.Wait()
	return errors.Join(append(errs, c.mesh.Close())...)
}

// ignoreCanceled drops what closing a client returns when its context was ended before.
func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

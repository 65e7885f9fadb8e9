package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

const (
	// slowLine is the delay of a slow line, one way: more than a heartbeat, less than an election.
	slowLine = 300 * time.Millisecond

	// probeTimeout bounds one put of those that measure when the service is back, and probeEvery
	// is between two of them: at most 20 for each member are underway.
	probeTimeout = time.Second
	probeEvery   = 50 * time.Millisecond
)

// Fault is something that happens to a cluster. It returns the members that are still in touch with
// a quorum: at least one of them has to serve clients while it lasts, and no other may. Recover
// undoes any of them.
type Fault struct {
	Name    string
	Members int // that a cluster must have for it
	Inject  func(*Scene) (serving []*Member, err error)
}

// Scene is where a fault happens: the cluster in random order, but for the leader.
type Scene struct {
	*Cluster
	Context   context.Context
	Leader    *Member
	Followers []*Member
	Random    *rand.Rand
}

// NewScene looks at a healthy cluster.
func NewScene(ctx context.Context, c *Cluster, rng *rand.Rand) (*Scene, error) {
	leader, err := c.Leader(ctx)
	if err != nil {
		return nil, err
	}
	followers := slices.DeleteFunc(c.Members(), func(m *Member) bool { return m == leader })
	rng.Shuffle(len(followers), func(i, j int) {
		followers[i], followers[j] = followers[j], followers[i]
	})
	return &Scene{c, ctx, leader, followers, rng}, nil
}

// minority is how many members may be away.
func (s *Scene) minority() int { return len(s.Followers) / 2 }

// each calls fn for members until one has an error.
func each(fn func(*Member) error, members ...*Member) error {
	for _, m := range members {
		if err := fn(m); err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
	}
	return nil
}

// all returns the leader and the followers.
func (s *Scene) all() []*Member { return append([]*Member{s.Leader}, s.Followers...) }

// separate cuts two sides from each other, both ways.
func (s *Scene) separate(one, two []*Member) {
	for _, a := range one {
		for _, b := range two {
			s.Mesh.Cut(a.Name, b.Name)
			s.Mesh.Cut(b.Name, a.Name)
		}
	}
}

// Faults are all that there are.
func Faults() []Fault {
	return slices.Concat(processFaults(), partitionFaults(), lineFaults(), combinedFaults())
}

// processFaults happen to members.
func processFaults() []Fault {
	return []Fault{
		{"kill a follower", 3, func(s *Scene) ([]*Member, error) {
			return append(s.Followers[1:], s.Leader), s.Followers[0].Kill()
		}},
		{"kill the leader", 3, func(s *Scene) ([]*Member, error) {
			return s.Followers, s.Leader.Kill()
		}},
		{"stop the leader", 3, func(s *Scene) ([]*Member, error) {
			return s.Followers, s.Leader.Quit()
		}},
		{"stop a follower", 3, func(s *Scene) ([]*Member, error) {
			return append(s.Followers[1:], s.Leader), s.Followers[0].Quit()
		}},
		{"kill a majority", 3, func(s *Scene) ([]*Member, error) {
			return nil, each((*Member).Kill, s.all()[:s.minority()+1]...)
		}},
		{"kill all", 3, func(s *Scene) ([]*Member, error) {
			return nil, each((*Member).Kill, s.all()...)
		}},
		{"pause a follower", 3, func(s *Scene) ([]*Member, error) {
			return append(s.Followers[1:], s.Leader), s.Followers[0].Pause()
		}},
		{"pause the leader", 3, func(s *Scene) ([]*Member, error) {
			return s.Followers, s.Leader.Pause()
		}},
		{"pause all but one", 3, func(s *Scene) ([]*Member, error) {
			return nil, each((*Member).Pause, s.all()[1:]...)
		}},
		{"kill and start each in turn", 3, func(s *Scene) ([]*Member, error) {
			return s.all(), each(func(m *Member) error {
				return errors.Join(m.Kill(), m.Start(s.Context), s.Healthy(s.Context))
			}, s.all()...)
		}},
	}
}

// partitionFaults part members from each other, both ways.
func partitionFaults() []Fault {
	return []Fault{
		{"isolate a follower", 3, func(s *Scene) ([]*Member, error) {
			s.Mesh.Isolate(s.Followers[0].Name)
			return append(s.Followers[1:], s.Leader), nil
		}},
		{"isolate the leader", 3, func(s *Scene) ([]*Member, error) {
			s.Mesh.Isolate(s.Leader.Name)
			return s.Followers, nil
		}},
		{"isolate all", 3, func(s *Scene) ([]*Member, error) {
			for _, m := range s.all() {
				s.Mesh.Isolate(m.Name)
			}
			return nil, nil
		}},
		{"split, the leader with the few", 3, func(s *Scene) ([]*Member, error) {
			few, many := s.all()[:s.minority()], s.all()[s.minority():]
			s.separate(few, many)
			return many, nil
		}},
		{"split, the leader with the many", 3, func(s *Scene) ([]*Member, error) {
			few, many := s.Followers[:s.minority()], s.Followers[s.minority():]
			many = append(many, s.Leader)
			s.separate(few, many)
			return many, nil
		}},
		{"a bridge of one follower", 3, func(s *Scene) ([]*Member, error) {
			half := (len(s.Followers) - 1) / 2
			one := append([]*Member{s.Leader}, s.Followers[1:1+half]...)
			s.separate(one, s.Followers[1+half:])
			return s.all(), nil
		}},
		{"a ring", 5, func(s *Scene) ([]*Member, error) {
			all := s.all()
			for i, m := range all {
				for j := i + 2; j < len(all); j++ {
					if i > 0 || j < len(all)-1 {
						s.separate([]*Member{m}, []*Member{all[j]})
					}
				}
			}
			return all, nil
		}},
	}
}

// lineFaults happen to single lines, in one direction.
func lineFaults() []Fault {
	return []Fault{
		{"the leader hears nobody", 3, func(s *Scene) ([]*Member, error) {
			for _, m := range s.Followers {
				s.Mesh.Cut(m.Name, s.Leader.Name)
			}
			return s.Followers, nil
		}},
		{"nobody hears the leader", 3, func(s *Scene) ([]*Member, error) {
			for _, m := range s.Followers {
				s.Mesh.Cut(s.Leader.Name, m.Name)
			}
			return s.Followers, nil
		}},
		{"a follower does not hear the leader", 3, func(s *Scene) ([]*Member, error) {
			s.Mesh.Cut(s.Leader.Name, s.Followers[0].Name)
			return s.all(), nil
		}},
		{"the leader does not hear a follower", 3, func(s *Scene) ([]*Member, error) {
			s.Mesh.Cut(s.Followers[0].Name, s.Leader.Name)
			return s.all(), nil
		}},
		{"slow lines of the leader", 3, func(s *Scene) ([]*Member, error) {
			for _, m := range s.Followers {
				s.Mesh.Delay(s.Leader.Name, m.Name, slowLine)
			}
			return s.all(), nil
		}},
		{"drop all connections", 3, func(s *Scene) ([]*Member, error) {
			s.Mesh.Drop("", "")
			return s.all(), nil
		}},
	}
}

// combinedFaults are several at once.
func combinedFaults() []Fault {
	return []Fault{
		{"kill a follower, isolate the leader", 3, func(s *Scene) ([]*Member, error) {
			s.Mesh.Isolate(s.Leader.Name)
			err := s.Followers[0].Kill()
			if len(s.Followers) < 4 {
				return nil, err // there is no quorum
			}
			return s.Followers[1:], err
		}},
		{"isolate a follower, kill and start the leader", 3, func(s *Scene) ([]*Member, error) {
			s.Mesh.Isolate(s.Followers[0].Name)
			return append(s.Followers[1:], s.Leader),
				errors.Join(s.Leader.Kill(), s.Leader.Start(s.Context))
		}},
		{"pause the leader, kill and start a follower", 3, func(s *Scene) ([]*Member, error) {
			f := s.Followers[0]
			return s.Followers, errors.Join(s.Leader.Pause(), f.Kill(), f.Start(s.Context))
		}},
		{"isolate the leader, kill all", 3, func(s *Scene) ([]*Member, error) {
			s.Mesh.Isolate(s.Leader.Name)
			return nil, each((*Member).Kill, s.all()...)
		}},
		{"one way to a follower, slow back, drops", 3, func(s *Scene) ([]*Member, error) {
			f := s.Followers[0]
			s.Mesh.Cut(s.Leader.Name, f.Name)
			s.Mesh.Delay(f.Name, s.Leader.Name, slowLine)
			s.Mesh.Drop(f.Name, "")
			return s.all(), nil
		}},
		{"kill two followers, pause one", 5, func(s *Scene) ([]*Member, error) {
			return nil, errors.Join(s.Followers[0].Kill(), s.Followers[1].Kill(),
				s.Followers[2].Pause())
		}},
	}
}

// Recover ends every fault: lines are healed, paused members go on, members that were ended are
// started, and it returns when those serve clients. A member that has ended by itself is an error.
func (c *Cluster) Recover(ctx context.Context) error {
	c.Mesh.HealAll()
	var started []*Member
	for _, m := range c.Members() {
		if m.Paused {
			if err := m.Resume(); err != nil {
				return fmt.Errorf("%s: %w", m.Name, err)
			}
		}
		if m.ended {
			if err := m.AwaitEnd(); err != nil {
				return fmt.Errorf("%s: %w", m.Name, err)
			}
		}
		if !m.Running() {
			if !m.ended {
				return fmt.Errorf("%s has ended by itself: see %s", m.Name, m.dir)
			}
			if err := m.Launch(); err != nil {
				return fmt.Errorf("%s: %w", m.Name, err)
			}
			started = append(started, m)
		}
	}
	return Await(ctx, started...)
}

// FirstPut returns how long it takes until a put through any of some members succeeds. One is sent
// to each of them every probeEvery, so that an answer is not missed for waiting on a lost one.
func FirstPut(ctx context.Context, members []*Member, limit time.Duration) (time.Duration, error) {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	results := make(chan error, 1) // of the latest failure, or of the success that ends all
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer cancel()
	put := func(m *Member) {
		call, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		_, err := m.client.Put(call, "probe", m.Name)
		select {
		case results <- err:
		case <-ctx.Done():
		}
	}
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	last := errors.New("no put was answered")
	for {
		for _, m := range members {
			tasks.Go(func() { put(m) })
		}
		for next := false; !next; {
			select {
			case err := <-results:
				if err == nil {
					return time.Since(begin), nil
				}
				last = err
			case <-tick.C:
				next = true
			case <-ctx.Done():
				return time.Since(begin), fmt.Errorf("no put succeeded within %v: %w", limit, last)
			}
		}
	}
}

// apart returns the members that run and are not among those that serve.
func (c *Cluster) apart(serving []*Member) []*Member {
	return slices.DeleteFunc(c.Members(), func(m *Member) bool {
		return !m.Running() || m.ended || m.Paused || slices.Contains(serving, m)
	})
}

// AnyAnswers returns one of some members that answers a linearizable read in the time of a probe,
// or nil.
func AnyAnswers(ctx context.Context, members []*Member) *Member {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	results := make(chan *Member, len(members))
	for _, m := range members {
		go func() {
			if _, err := m.client.Get(ctx, "health"); err != nil {
				results <- nil
			} else {
				results <- m
			}
		}()
	}
	var answers *Member
	for range members {
		if m := <-results; m != nil {
			answers = m
		}
	}
	return answers
}

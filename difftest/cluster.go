package difftest

import (
	"cmp"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const (
	// spareMembers is how many members a script may add to a cluster of several.
	spareMembers = 6

	// firstToken is what etcd computes the ids of a cluster's first members with, besides URLs.
	firstToken = "etcd-cluster"

	// settleTimeout bounds the wait for a leader and for a member that is behind, settlePoll how
	// often they are looked at.
	settleTimeout = 20 * time.Second
	settlePoll    = 5 * time.Millisecond
)

// Cluster is one of the two sides of a run: members by number, from 1 at index 0. All of them have
// their ports from the start; those beyond the first ones run once a script has added them.
type Cluster struct {
	Sides []*Side
	Pair  int // 0 or 1
	term  uint64
}

// NewCluster returns a cluster of cfg.Members that is not started yet. Its first members are
// numbered in the order of their ids, so that lists in that order are alike on both sides.
func NewCluster(program, dir string, pair int, cfg Config) (*Cluster, error) {
	c := &Cluster{Pair: pair}
	first, all := max(cfg.Members, 1), max(cfg.Members, 1)
	if first > 1 {
		all += spareMembers
	}
	var servers []*Server
	for range all {
		s, err := NewServer(program, "", cfg)
		if err != nil {
			return nil, err
		}
		servers = append(servers, s)
	}
	slices.SortFunc(servers[:first], func(a, b *Server) int {
		return cmp.Compare(firstID(a.PeerURL()), firstID(b.PeerURL()))
	})
	shared := newIDs()
	for i, s := range servers {
		name, n := string(rune('A'+pair)), i+1
		s.Dir = filepath.Join(dir, name)
		if first > 1 {
			s.Number, name = n, fmt.Sprintf("%s%d", name, n)
			s.Dir = filepath.Join(dir, name)
		}
		shared.urls[s.PeerURL()] = fmt.Sprintf("$peer%d", n)
		shared.urls[s.ClientURL()] = fmt.Sprintf("$client%d", n)
		c.Sides = append(c.Sides, &Side{Name: name, Server: s, ids: shared})
	}
	for _, s := range servers[:first] {
		if first > 1 {
			s.Initial = initialCluster(servers[:first])
		}
	}
	return c, nil
}

// firstID returns the id that etcd gives to one of a cluster's first members.
func firstID(peerURL string) uint64 {
	sum := sha1.Sum([]byte(peerURL + firstToken))
	return binary.BigEndian.Uint64(sum[:])
}

// initialCluster returns the value of --initial-cluster for some members.
func initialCluster(members []*Server) string {
	var list []string
	for _, s := range members {
		list = append(list, s.Name()+"="+s.PeerURL())
	}
	return strings.Join(list, ",")
}

// Side returns member n, 0: the first.
func (c *Cluster) Side(n int) *Side { return c.Sides[max(n, 1)-1] }

// Start starts the first members and returns when all of them serve clients.
func (c *Cluster) Start(ctx context.Context) error {
	first := c.Sides[:max(c.Sides[0].Server.Config.Members, 1)]
	statuses, errs := make([]*pb.StatusResponse, len(first)), make([]error, len(first))
	var wg sync.WaitGroup
	for i, s := range first {
		wg.Go(func() { statuses[i], errs[i] = s.connect(ctx) })
	}
	wg.Wait()
	for i, s := range first {
		if errs[i] != nil {
			errs[i] = fmt.Errorf("side %s: %w", s.Name, errs[i])
		} else {
			errs[i] = s.meet(statuses[i].Header)
		}
	}
	return errors.Join(errs...)
}

// Close ends everything.
func (c *Cluster) Close() {
	for _, s := range c.Sides {
		s.Close()
	}
}

// Running lists the members that run.
func (c *Cluster) Running() (list []*Side) {
	for _, s := range c.Sides {
		if s.running() {
			list = append(list, s)
		}
	}
	return list
}

// status asks a member for its status, not in normal form.
func (s *Side) status(ctx context.Context) (*pb.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := pb.NewMaintenanceClient(s.conn).Status(ctx, &pb.StatusRequest{})
	if err != nil {
		return nil, fmt.Errorf("side %s: %w", s.Name, err)
	}
	return resp, nil
}

// poll calls ok until it is true, and returns an error that says what it waited for in vain.
func poll(ctx context.Context, what string, ok func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	ticks := time.NewTicker(settlePoll)
	defer ticks.Stop()
	for {
		done, err := ok()
		if done {
			return nil
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%s: not within %v", what, settleTimeout), err)
		}
	}
}

// Settle waits until all members that run follow member lead and have applied all that it has,
// making it the leader if need be.
func (c *Cluster) Settle(ctx context.Context, lead int) error {
	want := c.Side(lead)
	want.leader = want.memberID
	err := poll(ctx, "a leader "+want.Name, func() (bool, error) {
		agreed := true
		for _, s := range c.Running() {
			status, err := s.status(ctx)
			if err != nil {
				return false, err
			}
			agreed = agreed && status.Leader == want.memberID
			c.term = status.RaftTerm
			if status.Leader == s.memberID && s != want {
				// Whether it worked shows the next look.
				_, err := pb.NewMaintenanceClient(s.conn).MoveLeader(ctx,
					&pb.MoveLeaderRequest{TargetID: want.memberID})
				return false, err
			}
		}
		return agreed, nil
	})
	if err != nil {
		return err
	}
	return c.CatchUp(ctx, lead)
}

// CatchUp waits until all members that run have applied what the leader has committed, so that
// what they answer by themselves is alike on both sides.
func (c *Cluster) CatchUp(ctx context.Context, lead int) error {
	leader, err := c.Side(lead).status(ctx)
	if err != nil {
		return err
	}
	for _, s := range c.Running() {
		err := poll(ctx, "all applied at "+s.Name, func() (bool, error) {
			status, err := s.status(ctx)
			return err == nil && status.RaftAppliedIndex >= leader.RaftIndex, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Restless reports whether the leader has changed since Settle, which nobody asked for: on a busy
// machine a leader may be late.
func (c *Cluster) Restless(ctx context.Context) bool {
	for _, s := range c.Running() {
		status, err := s.status(ctx)
		if err == nil && c.term != 0 && status.RaftTerm != c.term {
			return true
		}
	}
	return false
}

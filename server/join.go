package server

import (
	"errors"
	"fmt"
	"slices"
	"time"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/internal/remedy"
	"github.com/cairnkv/cairn/member"
	"github.com/cairnkv/cairn/peer"
	"github.com/cairnkv/cairn/server/config"
	"github.com/cairnkv/cairn/server/datadir"
	"github.com/cairnkv/cairn/state"
	"github.com/cairnkv/cairn/task"
)

// Bounds of asking the other members before this one starts.
const (
	joinTimeout      = 10 * time.Second // for an answer (etcd: for each member's)
	bootstrapTimeout = time.Second      // the same, when none need be there
)

// firstImage is where a member without data begins: with the cluster that the flags describe, or as
// one that joins it.
func (s *Server) firstImage() (*state.Image, error) {
	cfg := s.cfg
	if cfg.InitialClusterState == config.ClusterExisting {
		if err := cfg.VerifyJoin(); err != nil {
			return nil, err
		}
		return s.joinImage()
	}
	if err := cfg.VerifyBootstrap(); err != nil {
		return nil, err
	}
	urls, err := cfg.Members()
	if err != nil {
		return nil, err
	}
	named := make(map[string][]string, len(urls))
	for name, u := range urls {
		named[name] = u.Strings()
	}
	members, local, err := datadir.FirstMembers(named, cfg.InitialClusterToken, cfg.Name)
	if err != nil {
		return nil, fmt.Errorf("--initial-cluster: %w", err)
	}
	if err := s.checkNotBootstrapped(members.ClusterID(), local, urls); err != nil {
		return nil, err
	}
	return state.NewImage(local, members), nil
}

// others are the peer URLs of --initial-cluster without this member's.
func (s *Server) others(urls map[string]config.URLs) (list []string) {
	for name, u := range urls {
		if name != s.cfg.Name {
			list = append(list, u.Strings()...)
		}
	}
	slices.Sort(list)
	return list
}

// answer is what a member says of the membership.
type answer struct {
	cluster uint64
	all     []member.Member
	err     error
}

// ask asks the members at some URLs for the membership, all at once, and returns the first answer
// that is enough. Without any it returns the error of one that has not answered until the timeout,
// if there is one.
func (s *Server) ask(urls []string, timeout time.Duration, enough func(a answer) bool) (
	found *answer, err error,
) {
	t, err := s.newTransport(0, 0)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	ctx, cancel := clock.WithTimeout(s.starting, s.clk, timeout)
	answers := make(chan answer, len(urls))
	var asking task.Group
	defer asking.Wait(s.tasks)
	defer cancel()
	for _, u := range urls {
		asking.Go(s.tasks, "ask", func() {
			cluster, all, err := peer.Members(ctx, t, []string{u})
			answers <- answer{cluster, all, err}
		})
	}
	for range urls {
		a, _ := task.Receive(s.tasks, answers)
		if a.err != nil {
			err = a.err
		} else if enough(a) {
			return &a, nil
		}
	}
	return nil, err
}

// checkNotBootstrapped refuses to begin anew as a member that has been one before: it has forgotten
// what it promised to the others (etcd: isMemberBootstrapped). When nobody runs yet, or another
// cluster, nobody knows: the streams will tell.
func (s *Server) checkNotBootstrapped(
	clusterID uint64, local cairn.MemberID, urls map[string]config.URLs,
) error {
	known, _ := s.ask(s.others(urls), bootstrapTimeout, func(a answer) bool {
		return a.cluster == clusterID && !slices.ContainsFunc(a.all, func(m member.Member) bool {
			return m.ID == local && len(m.ClientURLs) == 0 // it was never started
		})
	})
	if known == nil {
		return nil
	}
	return s.forgetful(local)
}

// forgetful says that a member was one before and has forgotten it.
func (s *Server) forgetful(local cairn.MemberID) error {
	return fmt.Errorf("member %x has already been bootstrapped: its data is gone from %s; %s",
		local, s.cfg.DataDir, remedy.Replace)
}

// joinImage asks the cluster who its members are and which of them this one is (etcd:
// ValidateClusterAndAssignIDs).
func (s *Server) joinImage() (*state.Image, error) {
	urls, err := s.cfg.Members()
	if err != nil {
		return nil, err
	}
	others := s.others(urls)
	if len(others) == 0 {
		return nil, errors.New("cannot fetch cluster info from peer urls: there is no other " +
			"member in --initial-cluster")
	}
	var last *answer // who is asked may not have heard yet that this member was added
	found, err := s.ask(others, joinTimeout, func(a answer) bool {
		last = &a
		return len(a.all) == len(urls)
	})
	if found == nil {
		found = last
	}
	if found == nil {
		return nil, fmt.Errorf("cannot fetch cluster info from peer urls: %w", err)
	}
	clusterID, all := found.cluster, found.all
	if len(all) != len(urls) {
		return nil, fmt.Errorf("error validating peerURLs: member count is unequal: the cluster "+
			"has %d members, --initial-cluster names %d; add this member first (member add), and "+
			"name all members", len(all), len(urls))
	}
	var local cairn.MemberID
	known := false // it was started, and has said where clients reach it
	for _, m := range all {
		name, err := s.cfg.NameOf(m.PeerURLs)
		if err != nil {
			return nil, fmt.Errorf("error validating peerURLs: PeerURLs: no match found for "+
				"existing member (%x, %v), last resolver error (%w)", m.ID, m.PeerURLs, err)
		}
		if name == s.cfg.Name {
			local, known = m.ID, len(m.ClientURLs) > 0
		}
	}
	if local == 0 {
		return nil, fmt.Errorf("couldn't find local name %q in the cluster's members", s.cfg.Name)
	}
	if known {
		return nil, s.forgetful(local)
	}
	return state.NewJoiner(local, member.NewSet(clusterID, all)), nil
}

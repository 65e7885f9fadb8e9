package member

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	cairn "github.com/cairnkv/cairn"
)

// Action is what a change does.
type Action string

// The actions. All but Update change who votes or receives the log, and go through raft as
// configuration changes.
const (
	Add     Action = "add"
	Remove  Action = "remove"
	Promote Action = "promote"
	Update  Action = "update"
)

// Change is one change of the membership as the log carries it. What could differ from member to
// member was decided before it was proposed.
type Change struct {
	Action Action `json:"action"`
	// Member is whom it is about: of Add all of it, of Update the id and the peer URLs, of the
	// others the id.
	Member Member `json:"member"`
	// MaxLearners is how many learners there may be with an added one.
	MaxLearners int `json:"maxLearners,omitempty"`
}

// Encode gives the change's bytes in the log.
func (c *Change) Encode() ([]byte, error) { return json.Marshal(c) }

// DecodeChange reads what Encode wrote. An action that is not known is an error: to leave it out
// would be to diverge.
func DecodeChange(b []byte) (Change, error) {
	var c Change
	if err := json.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("member: malformed change: %w", err)
	}
	switch c.Action {
	case Add, Remove, Promote, Update:
		return c, nil
	}
	return c, fmt.Errorf("member: a change of unknown action %q", c.Action)
}

// NewID is the id of a member that is added to a running cluster (etcd: as ID, with the time and
// without a token).
func NewID(peerURLs []string, now time.Time) cairn.MemberID {
	return ID(peerURLs, fmt.Sprint(now.Unix()))
}

// Check says whether a change fits the membership, in the order and with the errors of etcd
// (membership.RaftCluster.ValidateConfigurationChange). Besides, somebody who votes must be left:
// two who remove each other at the same time are both let through by who proposes it, and no
// member could go on behind such an entry (etcd's end there).
func (s *Set) Check(c *Change) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if slices.Contains(s.removed, c.Member.ID) {
		return cairn.ErrMemberNotFound // its id is never used again
	}
	i := s.find(c.Member.ID)
	switch {
	case c.Action == Add && i >= 0:
		return cairn.ErrMemberExists
	case c.Action != Add && i < 0:
		return cairn.ErrMemberNotFound
	case c.Action == Promote && !s.members[i].IsLearner:
		return cairn.ErrMemberNotLearner
	case c.Action == Remove && !slices.ContainsFunc(s.members, func(m Member) bool {
		return !m.IsLearner && m.ID != c.Member.ID
	}):
		return cairn.ErrFewStarted
	}
	if c.Action == Add || c.Action == Update {
		for _, m := range s.members {
			if m.ID != c.Member.ID && overlap(m.PeerURLs, c.Member.PeerURLs) {
				return cairn.ErrPeerURLExists
			}
		}
	}
	if c.Action == Add && c.Member.IsLearner {
		learners := 1
		for _, m := range s.members {
			if m.IsLearner {
				learners++
			}
		}
		if learners > c.MaxLearners {
			return cairn.ErrTooManyLearners
		}
	}
	return nil
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

// Apply carries out a change that Check lets through. The applier's.
func (s *Set) Apply(c *Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.find(c.Member.ID)
	switch c.Action {
	case Add:
		s.members = append(s.members, c.Member)
		slices.SortFunc(s.members, byID)
	case Remove:
		s.members = slices.Delete(s.members, i, i+1)
		s.removed = append(s.removed, c.Member.ID)
	case Promote:
		s.members[i].IsLearner = false
	case Update:
		s.members[i].PeerURLs = slices.Clone(c.Member.PeerURLs)
	}
}

// find is the place of a member, -1 if there is none; the caller holds mu.
func (s *Set) find(id cairn.MemberID) int {
	return slices.IndexFunc(s.members, func(m Member) bool { return m.ID == id })
}

// Removed says whether the id was a member's that was removed.
func (s *Set) Removed(id cairn.MemberID) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Contains(s.removed, id)
}

// Replace makes the set what other is, which a snapshot brought. The applier's.
func (s *Set) Replace(other *Set) {
	other.mu.RLock()
	cluster, version := other.cluster.Load(), other.version
	members, removed := slices.Clone(other.members), slices.Clone(other.removed)
	other.mu.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cluster.Store(cluster)
	s.version, s.members, s.removed = version, members, removed
}

// Alone makes local the only member; the others count as removed. The version stays.
func (s *Set) Alone(local cairn.MemberID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.find(local)
	if i < 0 {
		return errors.New("member: this member is not in the membership")
	}
	for _, m := range s.members {
		if m.ID != local {
			s.removed = append(s.removed, m.ID)
		}
	}
	s.members = []Member{s.members[i]}
	s.members[0].IsLearner = false
	return nil
}

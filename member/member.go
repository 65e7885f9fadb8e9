// Package member is the replicated list of the cluster's members and the version that they agreed
// to run at. Members are identified by numbers that etcd's rules give ([ID], [ClusterID]), so that
// a cluster keeps its ids when it changes from one program to the other.
package member

import (
	"cmp"
	"crypto/sha1"
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/internal/mutate"
)

// Member is one member. Name and ClientURLs are empty until it has started once.
type Member struct {
	ID         cairn.MemberID `json:"id"`
	Name       string         `json:"name,omitempty"`
	PeerURLs   []string       `json:"peerURLs"`
	ClientURLs []string       `json:"clientURLs,omitempty"`
	IsLearner  bool           `json:"isLearner,omitempty"`
}

// ID is the first 8 bytes, big-endian, of the SHA-1 of the sorted peer URLs and the cluster's token
// (etcd server/etcdserver/api/membership, computeMemberID; there a member that is added at run
// time also hashes the time).
func ID(peerURLs []string, token string) cairn.MemberID {
	urls := slices.Sorted(slices.Values(peerURLs))
	sum := sha1.Sum([]byte(strings.Join(urls, "") + token))
	return binary.BigEndian.Uint64(sum[:8])
}

// ClusterID is the same of the sorted member ids, big-endian (etcd's RaftCluster.genID).
func ClusterID(members []cairn.MemberID) uint64 {
	var b []byte
	for _, id := range slices.Sorted(slices.Values(members)) {
		b = binary.BigEndian.AppendUint64(b, id)
	}
	sum := sha1.Sum(b)
	return binary.BigEndian.Uint64(sum[:8])
}

// Set is the membership. The applier alone changes it; all methods may be called at once.
type Set struct {
	mu      sync.RWMutex // guards all but cluster
	cluster atomic.Uint64
	version string // agreed cluster version "major.minor.patch"; empty until decided
	members []Member
	removed []cairn.MemberID // never to be used again
}

// NewSet makes a membership with the given first members.
func NewSet(cluster uint64, members []Member) *Set {
	s := &Set{members: slices.Clone(members)}
	s.cluster.Store(cluster)
	slices.SortFunc(s.members, byID)
	return s
}

func byID(a, b Member) int { return cmp.Compare(a.ID, b.ID) }

// ClusterID is the cluster's id.
func (s *Set) ClusterID() uint64 { return s.cluster.Load() }

// List returns copies of the members, by id.
func (s *Set) List() []Member {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := slices.Clone(s.members)
	for i := range list {
		list[i].PeerURLs = slices.Clone(list[i].PeerURLs)
		list[i].ClientURLs = slices.Clone(list[i].ClientURLs)
	}
	return list
}

// Get returns the member of that id.
func (s *Set) Get(id cairn.MemberID) (Member, bool) {
	for _, m := range s.List() {
		if m.ID == id {
			return m, true
		}
	}
	return Member{}, false
}

// SetAttributes notes what a member says of itself when it starts; an unknown member is ignored,
// for it may have been removed since.
func (s *Set) SetAttributes(id cairn.MemberID, name string, clientURLs []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.members {
		if s.members[i].ID == id {
			s.members[i].Name = name
			s.members[i].ClientURLs = slices.Clone(clientURLs)
		}
	}
}

// Version is the agreed cluster version, empty until it is decided.
func (s *Set) Version() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.version
}

// SetVersion notes the agreed cluster version.
func (s *Set) SetVersion(v string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version = v
}

// ErrMalformed says that Decode was given something that Encode did not write.
var ErrMalformed = errors.New("member: malformed membership")

type encoded struct {
	Cluster uint64           `json:"cluster"`
	Version string           `json:"version,omitempty"`
	Members []Member         `json:"members"`
	Removed []cairn.MemberID `json:"removed,omitempty"`
}

// Encode appends the membership to dst for a checkpoint.
func (s *Set) Encode(dst []byte) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := encoded{s.cluster.Load(), s.version, s.members, s.removed}
	if mutate.On(mutate.ImageLacksRemoved) {
		e.Removed = nil
	}
	b, err := json.Marshal(e)
	return append(dst, b...), err
}

// Decode makes the membership that Encode wrote.
func Decode(b []byte) (*Set, error) {
	var e encoded
	if err := json.Unmarshal(b, &e); err != nil {
		return nil, errors.Join(ErrMalformed, err)
	}
	s := NewSet(e.Cluster, e.Members)
	s.version, s.removed = e.Version, e.Removed
	return s, nil
}

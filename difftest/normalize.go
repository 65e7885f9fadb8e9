package difftest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// ttlTolerance is by how many seconds what is left of a lease's TTL may differ: the two sides
// count on different clocks, and Cairn remembers over a restart how much was used up.
const ttlTolerance = 300

// earlyVersion is the storage version that a fresh etcd has for a moment.
const earlyVersion = "3.5.0"

// normalize brings a response of this side into the form in which both sides must be equal: its
// ids become 1 after a check that they are its own, picked lease ids become their symbols, terms,
// indexes and sizes become 1 where they are set. An error means an impossible response.
func (s *Side) normalize(m proto.Message) error {
	list, hasMembers := m.(interface{ GetMembers() []*pb.Member })
	problem := error(nil)
	if hasMembers && !slices.IsSortedFunc(list.GetMembers(), byID) {
		problem = errors.New("members are not in the order of their ids")
	}
	if _, late := m.(*pb.WatchResponse); late { // it was sent before others that were seen
		defer func(newest uint64) { s.term = max(s.term, newest) }(s.term)
		s.term = 0
	}
	walk(m.ProtoReflect(), func(m protoreflect.Message, fd protoreflect.FieldDescriptor) {
		if err := s.normalizeField(m, fd); err != nil && problem == nil {
			problem = err
		}
	})
	if problem != nil {
		return fmt.Errorf("%w in %v", problem, m)
	}
	if hasMembers {
		slices.SortFunc(list.GetMembers(), byID) // by symbols now
		for _, member := range list.GetMembers() {
			s.normalizeURLs(member)
		}
	}
	switch m := m.(type) {
	case *pb.MemberAddResponse:
		s.normalizeURLs(m.Member)
	case *pb.StatusResponse:
		m.DbSize, m.DbSizeInUse = 1, 1 // Cairn's empty store uses nothing
		if m.StorageVersion == "" || m.StorageVersion == earlyVersion {
			m.StorageVersion = storageVersion // it comes in time, see kindVersions
		}
		for i, text := range m.Errors {
			m.Errors[i] = s.normalizeText(text)
		}
		slices.Sort(m.Errors) // etcd's alarms come from a map
	case *pb.LeaseTimeToLiveResponse:
		slices.SortFunc(m.Keys, slices.Compare)
	case *pb.LeaseLeasesResponse:
		return s.normalizeLeases(m)
	case *pb.HashResponse:
		m.Hash = 1 // the hash of a whole backend file depends on its layout
	}
	return nil
}

// normalizeField brings one field into common form.
func (s *Side) normalizeField(m protoreflect.Message, fd protoreflect.FieldDescriptor) error {
	switch fd.FullName() {
	case "etcdserverpb.ResponseHeader.cluster_id":
		return own(m, fd, s.clusterID)
	case "etcdserverpb.ResponseHeader.member_id":
		return own(m, fd, s.memberID)
	case "etcdserverpb.StatusResponse.leader", "etcdserverpb.Member.ID":
		symbol, known := s.numbers[m.Get(fd).Uint()]
		if !known {
			return fmt.Errorf("%s is %x, which is no member", fd.Name(), m.Get(fd).Uint())
		}
		m.Set(fd, protoreflect.ValueOfUint64(uint64(symbol)))
	case "etcdserverpb.AlarmMember.memberID":
		if symbol, known := s.numbers[m.Get(fd).Uint()]; known {
			m.Set(fd, protoreflect.ValueOfUint64(uint64(symbol)))
		}
	case "etcdserverpb.ResponseHeader.raft_term", "etcdserverpb.StatusResponse.raftTerm":
		term := m.Get(fd).Uint()
		if term < s.term {
			return fmt.Errorf("term %d after term %d", term, s.term)
		}
		s.term = term
		m.Set(fd, protoreflect.ValueOfUint64(1))
	case "etcdserverpb.StatusResponse.raftIndex", "etcdserverpb.StatusResponse.raftAppliedIndex":
		m.Set(fd, protoreflect.ValueOfUint64(1))
	case "mvccpb.KeyValue.lease", "etcdserverpb.LeaseGrantResponse.ID",
		"etcdserverpb.LeaseKeepAliveResponse.ID", "etcdserverpb.LeaseTimeToLiveResponse.ID",
		"etcdserverpb.LeaseStatus.ID":
		if symbol, ok := s.symbols[m.Get(fd).Int()]; ok {
			m.Set(fd, protoreflect.ValueOfInt64(symbol))
		}
	}
	return nil
}

// normalizeLeases checks that the leases come in the order of their expiry, as far as the TTLs that
// they were granted tell for certain, and sorts them by id. Only a leader knows when they expire.
func (s *Side) normalizeLeases(m *pb.LeaseLeasesResponse) error {
	longest := int64(0)
	for _, l := range m.Leases {
		ttl := s.ttls[l.ID]
		leads := s.leader == 0 || s.leader == s.memberID
		if leads && ttl < longest-ttlTolerance {
			return fmt.Errorf("lease %d of TTL %d is listed after one of TTL %d in %v", l.ID, ttl,
				longest, m)
		}
		longest = max(longest, ttl)
	}
	slices.SortFunc(m.Leases, func(a, b *pb.LeaseStatus) int { return cmp.Compare(a.ID, b.ID) })
	return nil
}

// own replaces an id, which must be want, by 1.
func own(m protoreflect.Message, fd protoreflect.FieldDescriptor, want uint64) error {
	if got := m.Get(fd).Uint(); got != want {
		return fmt.Errorf("%s is %x, not the server's own %x", fd.Name(), got, want)
	}
	m.Set(fd, protoreflect.ValueOfUint64(1))
	return nil
}

// byID orders members by id.
func byID(a, b *pb.Member) int { return cmp.Compare(a.ID, b.ID) }

// normalizeText replaces members' ids in a text and makes its spaces single: the text form of a
// message has one or two of them, as it pleases.
func (s *Side) normalizeText(text string) string {
	for id, symbol := range s.numbers {
		text = strings.ReplaceAll(text, strconv.FormatUint(id, 10),
			fmt.Sprintf("$m%d", symbol-selfSymbol))
	}
	return strings.Join(strings.Fields(text), " ")
}

// normalizeURLs replaces this side's own addresses. They are in order on both sides; of the words
// the order is another.
func (s *Side) normalizeURLs(m *pb.Member) {
	for _, urls := range [][]string{m.PeerURLs, m.ClientURLs} {
		for i, u := range urls {
			if word, known := s.urls[u]; known {
				urls[i] = word
			}
		}
		slices.Sort(urls)
	}
}

// pair brings two responses, each in normal form, closer where they need not be equal but near.
func pair(a, b proto.Message) {
	x, ok := a.(*pb.LeaseTimeToLiveResponse)
	if !ok {
		return
	}
	y := b.(*pb.LeaseTimeToLiveResponse)
	diff := x.TTL - y.TTL
	if x.TTL > 0 && y.TTL > 0 && -ttlTolerance < diff && diff < ttlTolerance {
		y.TTL = x.TTL
	}
}

// sameError reports whether two errors have the same gRPC code and text.
func sameError(a, b error) bool {
	if a == nil || b == nil {
		return (a == nil) == (b == nil)
	}
	x, y := status.Convert(a), status.Convert(b)
	return x.Code() == y.Code() && x.Message() == y.Message()
}

// sameAnswer reports whether two answers in normal form are equal.
func sameAnswer(a, b answer) bool {
	if !sameError(a.err, b.err) || len(a.msgs) != len(b.msgs) {
		return false
	}
	for i := range a.msgs {
		pair(a.msgs[i], b.msgs[i])
		if !proto.Equal(a.msgs[i], b.msgs[i]) {
			return false
		}
	}
	return true
}

// String returns the answer in full.
func (a answer) String() string {
	var b strings.Builder
	for _, m := range a.msgs {
		fmt.Fprintf(&b, "{%v}\n", m)
	}
	if a.err != nil {
		st := status.Convert(a.err)
		fmt.Fprintf(&b, "error %v: %q\n", st.Code(), st.Message())
	}
	return strings.TrimSuffix(b.String(), "\n")
}

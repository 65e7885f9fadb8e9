package state

import (
	"errors"
	"fmt"

	"github.com/cairnkv/cairn/alarm"
	"github.com/cairnkv/cairn/lease"
	"github.com/cairnkv/cairn/member"
	"github.com/cairnkv/cairn/revlog"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Image is the state at one index but for the records, which stay in the record log: what a
// checkpoint holds. As bytes it is a protobuf message of these fields; unknown ones are
// refused, for to leave one out would be to diverge:
//
//	1 index   2 term   3 conf state   4 record log mark   5 revision   6 compact revision
//	7 leases  8 alarms 9 membership   10 member id
type Image struct {
	Local      uint64 // the member that wrote it
	Index      uint64
	Term       uint64
	Conf       *raftpb.ConfState
	Mark       revlog.Mark // records behind it are not part of the image
	Rev        int64
	CompactRev int64
	Leases     *lease.Table
	Alarms     *alarm.Set
	Members    *member.Set
}

// Field numbers of an image.
const (
	fieldIndex protowire.Number = iota + 1
	fieldTerm
	fieldConf
	fieldMark
	fieldRev
	fieldCompactRev
	fieldLeases
	fieldAlarms
	fieldMembers
	fieldLocal
)

// NewImage is the image of a cluster that begins: every member starts from the same one, at index 1
// of term 1, as if it had been applied.
func NewImage(local uint64, members *member.Set) *Image {
	img := &Image{
		Local: local, Index: 1, Term: 1, Rev: 1, CompactRev: noCompaction,
		Conf: &raftpb.ConfState{}, Leases: lease.NewTable(), Alarms: new(alarm.Set),
		Members: members,
	}
	for _, m := range members.List() {
		img.Conf.Voters = append(img.Conf.Voters, m.ID)
	}
	return img
}

// NewJoiner is the image of a member that joins a cluster which runs: nothing was applied, and who
// votes is not known yet. The leader sends it a state.
func NewJoiner(local uint64, members *member.Set) *Image {
	img := NewImage(local, members)
	img.Index, img.Term, img.Conf = 0, 0, &raftpb.ConfState{}
	return img
}

// noCompaction is the compact revision of a store that was never compacted (etcd says -1 too).
const noCompaction = -1

// Image is the state at the last applied entry. The applier's, right after Publish.
func (m *Machine) Image() *Image {
	return &Image{
		Local: m.local, Index: m.index, Term: m.Term(), Conf: m.conf, Mark: m.store.Mark(),
		Rev: m.store.Rev(), CompactRev: m.store.CompactRev(),
		Leases: m.leases, Alarms: m.alarms, Members: m.members,
	}
}

// Encode gives the image's bytes. The image of a running machine must be encoded by the applier
// before it applies more.
func (img *Image) Encode() ([]byte, error) {
	conf, err := proto.MarshalOptions{Deterministic: true}.Marshal(img.Conf)
	if err != nil {
		return nil, err
	}
	members, err := img.Members.Encode(nil)
	if err != nil {
		return nil, err
	}
	var b []byte
	number := func(field protowire.Number, v uint64) {
		b = protowire.AppendTag(b, field, protowire.VarintType)
		b = protowire.AppendVarint(b, v)
	}
	bytes := func(field protowire.Number, v []byte) {
		b = protowire.AppendTag(b, field, protowire.BytesType)
		b = protowire.AppendBytes(b, v)
	}
	number(fieldIndex, img.Index)
	number(fieldTerm, img.Term)
	bytes(fieldConf, conf)
	bytes(fieldMark, img.Mark.AppendTo(nil))
	number(fieldRev, uint64(img.Rev))
	number(fieldCompactRev, uint64(img.CompactRev))
	bytes(fieldLeases, img.Leases.Encode(nil))
	bytes(fieldAlarms, img.Alarms.Encode(nil))
	bytes(fieldMembers, members)
	number(fieldLocal, img.Local)
	return b, nil
}

// ErrImage says that bytes are not an image that this version can read.
var ErrImage = errors.New("the checkpoint's content is not known to this version")

// DecodeImage reads what Encode wrote.
func DecodeImage(b []byte) (*Image, error) {
	img := &Image{Conf: &raftpb.ConfState{}, Leases: lease.NewTable(), Alarms: new(alarm.Set)}
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, fmt.Errorf("%w: %w", ErrImage, protowire.ParseError(n))
		}
		b = b[n:]
		var number uint64
		var bytes []byte
		switch kind {
		case protowire.VarintType:
			number, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			bytes, n = protowire.ConsumeBytes(b)
		default:
			return nil, fmt.Errorf("%w: field %d of type %d", ErrImage, field, kind)
		}
		if n < 0 {
			return nil, fmt.Errorf("%w: field %d: %w", ErrImage, field, protowire.ParseError(n))
		}
		b = b[n:]
		if err := img.set(field, number, bytes); err != nil {
			return nil, fmt.Errorf("%w: field %d: %w", ErrImage, field, err)
		}
	}
	if img.Members == nil || img.Rev < 1 || img.Local == 0 ||
		(img.Index == 0) != (len(img.Conf.GetVoters()) == 0) {
		return nil, fmt.Errorf("%w: fields are missing", ErrImage)
	}
	return img, nil
}

var errUnknownField = errors.New("unknown field")

func (img *Image) set(field protowire.Number, number uint64, bytes []byte) (err error) {
	switch field {
	case fieldIndex:
		img.Index = number
	case fieldTerm:
		img.Term = number
	case fieldConf:
		err = proto.Unmarshal(bytes, img.Conf)
	case fieldMark:
		img.Mark, err = revlog.DecodeMark(bytes)
	case fieldRev:
		img.Rev = int64(number)
	case fieldCompactRev:
		img.CompactRev = int64(number)
	case fieldLeases:
		err = img.Leases.Decode(bytes)
	case fieldAlarms:
		err = img.Alarms.Decode(bytes)
	case fieldMembers:
		img.Members, err = member.Decode(bytes)
	case fieldLocal:
		img.Local = number
	default:
		err = errUnknownField
	}
	return err
}

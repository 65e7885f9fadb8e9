// Package command is the codec of what the raft log carries: batches of replicated commands. The
// log is a file format and is read by members of other versions, so the layout is versioned and its
// bytes are pinned by a test.
//
// One raft entry carries one batch; a command carries the request's own protobuf bytes, as they
// came from the client (whatever had to be decided, such as a lease's id, is already in them):
//
//	+---------+----------+----------+----------------+ +------+-------------+---------+
//	| version |  origin  | sequence | count (varint) | | kind | len (varint)| request | ...
//	| 1 byte  | 8 bytes  | 8 bytes  |                | |1 byte|             |         |
//	+---------+----------+----------+----------------+ +------+-------------+---------+
//	                                                    \_______ count times ________/
//
// Origin is the member that proposed the batch and sequence its number there: the proposer finds
// the clients that wait by them. Integers are little-endian. An entry without data (raft's own, at
// the start of a term) is no batch. A raft configuration change carries a batch of one command as
// its context.
package command

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Kind tells how a command's request is to be read. The numbers are on disk: never reuse one.
type Kind uint8

// The kinds, each with the protobuf message of its request.
const (
	Put              Kind = 1  // etcdserverpb.PutRequest
	DeleteRange      Kind = 2  // etcdserverpb.DeleteRangeRequest
	Txn              Kind = 3  // etcdserverpb.TxnRequest
	Compact          Kind = 4  // etcdserverpb.CompactionRequest
	LeaseGrant       Kind = 5  // etcdserverpb.LeaseGrantRequest, ID and TTL decided
	LeaseRevoke      Kind = 6  // etcdserverpb.LeaseRevokeRequest
	LeaseCheckpoint  Kind = 7  // etcdserverpb.LeaseCheckpointRequest
	Alarm            Kind = 8  // etcdserverpb.AlarmRequest
	MemberAttributes Kind = 9  // membershippb.ClusterMemberAttrSetRequest
	ClusterVersion   Kind = 10 // membershippb.ClusterVersionSetRequest
	MemberChange     Kind = 11 // member.Change; but for updates the context of a raft conf change

	maxKind = MemberChange
)

var kindNames = [...]string{Put: "put", DeleteRange: "delete_range", Txn: "txn", Compact: "compact",
	LeaseGrant: "lease_grant", LeaseRevoke: "lease_revoke", LeaseCheckpoint: "lease_checkpoint",
	Alarm: "alarm", MemberAttributes: "member_attributes", ClusterVersion: "cluster_version",
	MemberChange: "member_change"}

// String names the kind in metrics and logs.
func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Valid says whether this version knows the kind.
func (k Kind) Valid() bool { return k >= Put && k <= maxKind }

const (
	// version is the layout above.
	version = 1
	// headerBytes is the fixed part: version, origin, sequence.
	headerBytes = 1 + 8 + 8
	// OverheadBytes bounds what a command adds to its request's length in an entry.
	OverheadBytes = 1 + binary.MaxVarintLen32
	// MaxCommands bounds the commands of one batch.
	MaxCommands = 1 << 16
)

// Errors of Decode and Next. A committed entry that gives one was written by a version that
// this one does not know, or is damaged: the caller must stop, for going on would diverge.
var (
	ErrVersion   = errors.New("command: the log entry was written by a version not known here")
	ErrMalformed = errors.New("command: the log entry is not a batch of commands")
)

// Builder collects commands into one entry's data. The zero value is ready; Reset starts anew.
type Builder struct {
	body  []byte
	count int
}

// Reset forgets what was added and keeps the memory.
func (b *Builder) Reset() { b.body, b.count = b.body[:0], 0 }

// Add appends a command; the request is copied.
func (b *Builder) Add(kind Kind, request []byte) {
	b.body = append(b.body, byte(kind))
	b.body = binary.AppendUvarint(b.body, uint64(len(request)))
	b.body = append(b.body, request...)
	b.count++
}

// Len is the number of commands added since Reset, and Bytes their encoded length.
func (b *Builder) Len() int   { return b.count }
func (b *Builder) Bytes() int { return len(b.body) }

// Build returns the entry's data in memory of its own.
func (b *Builder) Build(origin, sequence uint64) []byte {
	data := make([]byte, 0, headerBytes+binary.MaxVarintLen32+len(b.body))
	data = append(data, version)
	data = binary.LittleEndian.AppendUint64(data, origin)
	data = binary.LittleEndian.AppendUint64(data, sequence)
	data = binary.AppendUvarint(data, uint64(b.count))
	return append(data, b.body...)
}

// Batch is an entry's data being read: Next goes through its commands.
type Batch struct {
	Origin   uint64
	Sequence uint64
	Count    int // commands not yet read
	rest     []byte
}

// Decode reads the head of a batch. The batch and all that Next returns alias data.
func Decode(data []byte) (Batch, error) {
	if len(data) == 0 {
		return Batch{}, ErrMalformed
	}
	if data[0] != version {
		return Batch{}, fmt.Errorf("%w: version %d, known is %d", ErrVersion, data[0], version)
	}
	if len(data) < headerBytes {
		return Batch{}, ErrMalformed
	}
	n, used := binary.Uvarint(data[headerBytes:])
	if used <= 0 || n > MaxCommands {
		return Batch{}, ErrMalformed
	}
	return Batch{
		Origin:   binary.LittleEndian.Uint64(data[1:]),
		Sequence: binary.LittleEndian.Uint64(data[9:]),
		Count:    int(n),
		rest:     data[headerBytes+used:],
	}, nil
}

// Next returns the next command; it must not be called when Count is 0.
func (b *Batch) Next() (Kind, []byte, error) {
	if b.Count == 0 || len(b.rest) < 2 {
		return 0, nil, ErrMalformed
	}
	kind := Kind(b.rest[0])
	if !kind.Valid() {
		return 0, nil, fmt.Errorf("%w: %v", ErrVersion, kind)
	}
	n, used := binary.Uvarint(b.rest[1:])
	if used <= 0 || n > uint64(len(b.rest)-1-used) {
		return 0, nil, ErrMalformed
	}
	request := b.rest[1+used : 1+used+int(n)]
	b.rest = b.rest[1+used+int(n):]
	b.Count--
	if b.Count == 0 && len(b.rest) != 0 {
		return 0, nil, ErrMalformed
	}
	return kind, request, nil
}

package v3

import (
	"context"
	"errors"
	"io"
	"math"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/alarm"
	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/member"
)

// Backend is what the doors need of the server behind them. All methods are safe for concurrent
// use.
//
// Errors: a *cairn.Error (also wrapped) reaches the client with its code and text, an error of
// a context as Canceled or DeadlineExceeded, any other one as Unknown with its text.
//
// Methods with a context return its error soon after it is done. Nothing that a request carries is
// kept after the call is over (for Propose: after done was called).
type Backend interface {
	Proposer
	Reader
	Leases
	Maintenance
	Cluster

	// OpenWatch begins a watch stream. The stream calls wake, from any goroutine, when Take has
	// something that the last Take did not return; wake does not block.
	OpenWatch(wake func()) WatchStream
}

// Proposer is the replicated way: for everything that changes something.
type Proposer interface {
	// Header has the ids, the current revision and the current raft term.
	Header() cairn.Header

	// Leader is the current leader as far as this member knows, 0 if there is none.
	Leader() cairn.MemberID

	// Learner says whether this member is one: it answers little then.
	Learner() bool

	// Propose replicates and applies a request. req is the protobuf message that belongs to kind,
	// already validated by the door; of a LeaseGrant the ID is not 0 and the TTL not below the
	// minimum. A request beyond the quota is refused with cairn.ErrNoSpace (and raises the alarm),
	// one too many at once with cairn.ErrTooManyRequests.
	//
	// done is called exactly once, whatever happens, from any goroutine, possibly before Propose
	// returns, and no later than the request timeout; it does not block. reply is the whole wire
	// response of the kind's RPC, header included, and is valid during the call only. req must stay
	// unchanged until then: the door sees to that even if the client has gone away meanwhile.
	//
	// For a command.Compact done is called when the compaction holds logically; a door that
	// was asked for a physical one waits with WaitCompacted.
	Propose(kind command.Kind, req []byte, done func(reply []byte, err error))

	// Barrier calls done (under the same rules) once everything is applied that was committed
	// when Barrier was called: local reads are linearizable from then on.
	Barrier(done func(reply []byte, err error))
}

// Reader is what reads from the local store.
type Reader interface {
	// AppendRange appends the whole RangeResponse, header included, to dst and returns the longer
	// slice, on an error dst as it was. r is already validated. ErrLong says that it would take
	// more than the budget.
	AppendRange(ctx context.Context, dst []byte, r *cairn.RangeRequest, b Budget) ([]byte, error)

	// WriteRange gives the whole RangeResponse to write, piece by piece, after it has told begin
	// how many bytes it has. A piece is valid during its call only. Errors of begin and write end
	// the call and are returned as they are; after begin, any error means that the response is
	// broken.
	WriteRange(ctx context.Context, r *cairn.RangeRequest, begin func(size int) error,
		write func(piece []byte) error) error

	// AppendReadTxn appends the whole TxnResponse of a transaction that only reads, all of it at
	// one revision.
	AppendReadTxn(ctx context.Context, dst []byte, t *cairn.TxnRequest) ([]byte, error)

	// StreamRange gives the answer to r in pieces, each the bytes of a RangeResponse, all at one
	// revision; the last one alone carries header, more and count. A piece is valid during
	// its send only. An error of send ends the call and is returned as it is.
	StreamRange(ctx context.Context, r *cairn.RangeRequest, send func(resp []byte) error) error

	// WaitCompacted blocks until the space of what the compaction at rev removed is no longer
	// searched: etcd's "physical" compaction.
	WaitCompacted(ctx context.Context, rev int64) error
}

// Budget bounds a range: the keys that are looked at, and the bytes of the response.
type Budget struct{ Keys, Bytes int }

// Unbounded lets a range take what it takes.
var Unbounded = Budget{Keys: math.MaxInt, Bytes: math.MaxInt}

// ErrLong says that a range is longer than its budget.
var ErrLong = errors.New("v3: the range is longer than the budget")

// Leases is what of leases does not go through the log.
type Leases interface {
	// KeepAlive starts the lease's time anew and returns its time to live in seconds.
	// cairn.ErrLeaseNotFound if there is none.
	KeepAlive(ctx context.Context, id cairn.LeaseID) (ttl int64, err error)
	// TryKeepAlive is KeepAlive without waiting: it calls done, once and from any goroutine,
	// without blocking it. ok is false if it would have to wait for more than a read point, or for
	// another member: then done is not called.
	TryKeepAlive(id cairn.LeaseID, done func(ttl int64, err error)) (ok bool)
	// TimeToLive describes a lease, with its keys if they are asked for.
	// cairn.ErrLeaseNotFound if there is none.
	TimeToLive(ctx context.Context, id cairn.LeaseID, keys bool) (Lease, error)
	// Leases lists the ids of all leases.
	Leases(ctx context.Context) ([]cairn.LeaseID, error)
}

// Lease describes a lease.
type Lease struct {
	TTL     int64    // seconds left, rounded down
	Granted int64    // seconds as granted
	Keys    [][]byte // in order
}

// Maintenance is what operators ask for.
type Maintenance interface {
	Status() Status
	// Hash is a checksum over everything stored, with the revision that it was taken at.
	Hash(ctx context.Context) (hash uint32, rev int64, err error)
	// HashKV is etcd's checksum over the retained versions up to rev (0: the newest).
	HashKV(ctx context.Context, rev int64) (HashKV, error)
	// Snapshot makes a backup file. The caller reads exactly size bytes, then closes it.
	Snapshot(ctx context.Context) (r io.ReadCloser, size int64, err error)
	// Defragment gives space back. Here that happens by itself, so it returns at once.
	Defragment(ctx context.Context) error
	// MoveLeader hands the leadership to target; cairn.ErrNotLeader if this member has none to
	// give, cairn.ErrBadTransferee if target cannot have it.
	MoveLeader(ctx context.Context, target cairn.MemberID) error
}

// Status is the state of this member.
type Status struct {
	StoredBytes  int64 // of files (dbSize)
	InUseBytes   int64 // of them, with live data (dbSizeInUse)
	QuotaBytes   int64 // as it is in force
	Leader       cairn.MemberID
	RaftIndex    uint64 // committed
	AppliedIndex uint64
	Learner      bool
	Alarms       []alarm.Alarm // all members'
}

// HashKV is what HashKV answers.
type HashKV struct {
	Hash       uint32
	HashRev    int64 // up to which versions count
	CompactRev int64 // what was not removed by this compaction counts
	CurrentRev int64 // of the store when it was computed; goes into the header
}

// Cluster is the membership. Changes return the members after them.
type Cluster interface {
	// Members lists the members; a linearizable list is up to date when the call began.
	Members(ctx context.Context, linearizable bool) ([]member.Member, error)
	// AddMember adds a member that will be reached at peerURLs.
	AddMember(ctx context.Context, peerURLs []string, learner bool) (
		added member.Member, all []member.Member, err error)
	RemoveMember(ctx context.Context, id cairn.MemberID) ([]member.Member, error)
	UpdateMember(ctx context.Context, id cairn.MemberID, peerURLs []string) (
		[]member.Member, error)
	PromoteMember(ctx context.Context, id cairn.MemberID) ([]member.Member, error)
}

// WatchStream is one client's stream of watches. Create, Cancel and Progress are called by one
// goroutine, Take by another, Close by either, once, as the last call.
type WatchStream interface {
	// Create adds a watch; what is to be said of it comes out of Take: first, in any case, that
	// it was created or refused.
	Create(req WatchCreate)
	// Cancel ends a watch; unknown ids are ignored.
	Cancel(id int64)
	// Progress asks for one response that says how far all watches of the stream are. Asked again
	// before Take has returned the answer, one answer is enough for both.
	Progress()
	// Congested says that so much waits for Take that no further request is welcome: each of
	// Create, Cancel and Progress adds a response, whatever waits already.
	Congested() bool
	// Take appends the next encoded WatchResponse messages to buf, in order, one after the other,
	// and where each of them ends to ends, until they are maxBytes or more (always at least one, if
	// there is one). more is false if there is nothing left: wake tells when there is again. It
	// does not block.
	Take(buf []byte, ends []int, maxBytes int) (_ []byte, _ []int, more bool)
	// Close ends all watches and frees what they hold.
	Close()
}

// WatchCreate is etcdserverpb.WatchCreateRequest. An empty Key means the smallest one; End is as
// in a range request. The slices belong to the stream.
type WatchCreate struct {
	Key, End       []byte
	StartRevision  int64 // 0: after the newest; < 0 is refused as compacted
	ID             int64 // 0: the stream chooses
	ProgressNotify bool
	NoPut          bool
	NoDelete       bool
	PrevKV         bool
	Fragment       bool // responses beyond max-request-bytes + 512 KiB are cut in pieces
}

package difftest

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

const (
	// Leases that scripts name themselves; small ids keep the text of a script short.
	firstLease, leaseCount = 1000, 12

	// expiringLease is above the ids of leases that expire within the operation that grants them.
	expiringLease = 5000

	// streamCount is how many watch streams a script uses, watchCount how many ids of its own
	// choice on each.
	streamCount, watchCount = 3, 5

	// smallRequest is the largest request in some scripts; largest values try this limit and etcd's
	// own, and what gRPC takes beyond.
	smallRequest = 200 << 10

	// bulkKeys is how many keys one bulk has, bulkPart how many of them one txn puts.
	bulkKeys, bulkPart = 100, 20

	// alarmSpan is within how many operations an alarm is lifted again.
	alarmSpan = 12
)

// generator makes a script from a seed. It knows nothing of what the servers will answer: ids and
// revisions come from small ranges, so that they often meet something.
type generator struct {
	rng      *rand.Rand
	keys     [][]byte
	vars     int  // $lease variables handed out
	expired  int  // leases that expired
	serverID bool // whether keys may hold leases whose id a server picked
	pending  []Op // to come at a given distance, see later
	after    int
}

// Generate returns the script of a seed with n operations. The same seed and n give the same script
// in every build of this package.
func Generate(seed uint64, n int) *Script {
	g := &generator{rng: rand.New(rand.NewPCG(seed, 0xca172))}
	g.serverID = g.chance(0.2)
	g.makeKeys()
	s := &Script{}
	switch g.rng.IntN(4) {
	case 0:
		s.Config.MaxTxnOps = 8
	case 1:
		s.Config.MaxRequestBytes = smallRequest
	}
	for i := range int64(min(n, leaseCount) / 2) {
		s.Ops = append(s.Ops, Op{Kind: "grant", Request: &pb.LeaseGrantRequest{
			ID: firstLease + i, TTL: 1000 + i*1000,
		}})
	}
	for len(s.Ops) < n {
		if len(g.pending) > 0 {
			if g.after == 0 {
				s.Ops = append(s.Ops, g.pending...)
				g.pending = nil
				continue
			}
			g.after--
		}
		s.Ops = append(s.Ops, g.op()...)
	}
	s.Ops = append(s.Ops, Op{Kind: kindVersions}, Op{Kind: "status", Request: &pb.StatusRequest{}})
	return s
}

// chance returns true with probability p.
func (g *generator) chance(p float64) bool { return g.rng.Float64() < p }

// later keeps operations for at most span operations from now.
func (g *generator) later(span int, ops ...Op) {
	g.pending = append(g.pending, ops...)
	g.after = 1 + g.rng.IntN(span)
}

// makeKeys chooses the keys of a script: few enough to meet again, with every shape that has ever
// been special.
func (g *generator) makeKeys() {
	g.keys = [][]byte{
		{0}, {0, 0}, {0xff}, {0xff, 0xff}, []byte("a"), []byte("ab"), []byte("a\x00"),
		[]byte("a\xff"), []byte("b"), []byte("/"), bytes.Repeat([]byte("k"), 300), {0x80, 0xfe},
	}
	for i := range 4 + g.rng.IntN(40) {
		g.keys = append(g.keys, fmt.Appendf(nil, "/r/%c/%02d", 'x'+rune(i%3), i))
	}
}

// key returns a key, rarely the empty one.
func (g *generator) key() []byte {
	if g.chance(0.01) {
		return nil
	}
	return g.keys[g.rng.IntN(len(g.keys))]
}

// span returns a key and a range end: one key, an interval, a prefix, from a key on, everything, or
// a range that is empty.
func (g *generator) span() (key, end []byte) {
	key = g.key()
	switch g.rng.IntN(10) {
	case 0, 1, 2, 3:
		return key, nil
	case 4, 5:
		return key, g.key()
	case 6, 7:
		return []byte("/r/"), []byte("/r0")
	case 8:
		return key, []byte{0}
	}
	return []byte{0}, []byte{0}
}

// value returns a value: mostly short, sometimes none, sometimes large.
func (g *generator) value() []byte {
	switch {
	case g.chance(0.05):
		return nil
	case g.chance(0.02):
		return bytes.Repeat([]byte{byte('A' + g.rng.IntN(26))}, 1+g.rng.IntN(40<<10))
	case g.chance(0.3):
		return []byte{byte('0' + g.rng.IntN(4))}
	}
	return fmt.Appendf(nil, "v%d", g.rng.IntN(10000))
}

// revision returns a revision to read at: the newest, a little back, near the compacted one, and
// now and then one that cannot be.
func (g *generator) revision() int64 {
	switch g.rng.IntN(20) {
	case 0, 1, 2, 3, 4:
		return Rev(-int64(g.rng.IntN(30)))
	case 5, 6:
		return Compacted(int64(g.rng.IntN(5)) - 1)
	case 7:
		return Rev(int64(g.rng.IntN(4)))
	case 8:
		return -int64(g.rng.IntN(3))
	case 9:
		return int64(g.rng.IntN(60))
	}
	return 0
}

// bound returns a bound for a revision filter.
func (g *generator) bound() int64 {
	switch g.rng.IntN(8) {
	case 0:
		return Rev(-int64(g.rng.IntN(40)))
	case 1:
		return int64(g.rng.IntN(200))
	}
	return 0
}

// limit returns a limit for a range.
func (g *generator) limit() int64 {
	switch {
	case g.chance(0.6):
		return 0
	case g.chance(0.03):
		return -int64(g.rng.IntN(3))
	}
	return 1 + int64(g.rng.IntN(12))
}

// lease returns the id of a lease that may exist.
func (g *generator) lease() int64 {
	switch {
	case g.chance(0.05):
		return []int64{-5, 1, math.MaxInt64, math.MinInt64}[g.rng.IntN(4)]
	case g.chance(0.1) && g.vars > 0:
		return LeaseVar(1 + g.rng.IntN(g.vars))
	}
	return firstLease + int64(g.rng.IntN(leaseCount))
}

// keyLease returns the lease for a put: mostly none.
func (g *generator) keyLease() int64 {
	if g.chance(0.7) {
		return 0
	}
	id := g.lease()
	if !g.serverID && within(id, leaseSymbol) {
		return firstLease
	}
	return id
}

// op returns the next operation, or a few that belong together.
func (g *generator) op() []Op {
	one := func(kind string, m proto.Message) []Op { return []Op{{Kind: kind, Request: m}} }
	switch p := g.rng.IntN(1000); {
	case p < 200:
		return one("range", g.rangeRequest())
	case p < 240:
		return one(kindRangeStream, g.streamRequest())
	case p < 480:
		return one("put", g.put())
	case p < 540:
		return one("delete", g.deleteRange())
	case p < 730:
		return one("txn", g.txn())
	case p < 740:
		return one("compact", g.compact())
	case p < 850:
		return g.leaseOp()
	case p < 960:
		return g.watchOp()
	case p < 964:
		return g.bulk()
	case p < 965:
		return g.oversized()
	case p < 966:
		g.expired++
		return []Op{{Kind: kindExpire, Request: &pb.LeaseGrantRequest{
			ID: expiringLease + int64(g.expired), TTL: 1,
		}}}
	}
	return g.maintenance()
}

// rangeRequest returns a range with any of its options.
func (g *generator) rangeRequest() *pb.RangeRequest {
	key, end := g.span()
	r := &pb.RangeRequest{
		Key: key, RangeEnd: end, Limit: g.limit(), Revision: g.revision(),
		Serializable: g.chance(0.2), KeysOnly: g.chance(0.15), CountOnly: g.chance(0.1),
	}
	if g.chance(0.4) {
		r.SortOrder = pb.RangeRequest_SortOrder(g.rng.IntN(3))
		r.SortTarget = pb.RangeRequest_SortTarget(g.rng.IntN(5))
	}
	if g.chance(0.01) {
		r.SortOrder = pb.RangeRequest_SortOrder(3 + g.rng.IntN(3))
	}
	if g.chance(0.01) {
		r.SortTarget = pb.RangeRequest_SortTarget(5 + g.rng.IntN(3))
	}
	if g.chance(0.3) {
		r.MinModRevision, r.MaxModRevision = g.bound(), g.bound()
		r.MinCreateRevision, r.MaxCreateRevision = g.bound(), g.bound()
	}
	return r
}

// streamRequest returns a range that RangeStream mostly takes: it has neither sorting nor filters.
// Never does it name a sort target without an order: etcd 3.7.3 takes that, sorts each chunk alone
// and goes on after the last key in that order, so that keys are lost or come twice.
func (g *generator) streamRequest() *pb.RangeRequest {
	r := g.rangeRequest()
	if g.chance(0.9) {
		r.SortOrder, r.SortTarget = 0, 0
		r.MinModRevision, r.MaxModRevision = 0, 0
		r.MinCreateRevision, r.MaxCreateRevision = 0, 0
	}
	if r.SortOrder == pb.RangeRequest_NONE && r.SortTarget <= pb.RangeRequest_VALUE {
		r.SortTarget = pb.RangeRequest_KEY
	}
	return r
}

// put returns a put with any of its options, some of which contradict.
func (g *generator) put() *pb.PutRequest {
	r := &pb.PutRequest{
		Key: g.key(), Value: g.value(), Lease: g.keyLease(), PrevKv: g.chance(0.25),
	}
	if g.chance(0.08) {
		r.IgnoreValue = true
		if g.chance(0.9) {
			r.Value = nil
		}
	}
	if g.chance(0.08) {
		r.IgnoreLease = true
		if g.chance(0.9) {
			r.Lease = 0
		}
	}
	return r
}

// deleteRange returns a delete; wide ones are rare, or little would be left to see.
func (g *generator) deleteRange() *pb.DeleteRangeRequest {
	key, end := g.span()
	if g.chance(0.7) {
		end = nil
	}
	return &pb.DeleteRangeRequest{Key: key, RangeEnd: end, PrevKv: g.chance(0.3)}
}

// compact returns a compaction, mostly a little way back.
func (g *generator) compact() *pb.CompactionRequest {
	r := &pb.CompactionRequest{Physical: g.chance(0.5)}
	switch g.rng.IntN(10) {
	case 0:
		r.Revision = g.revision()
	case 1:
		r.Revision = Rev(0)
	default:
		r.Revision = Rev(-int64(g.rng.IntN(40)))
	}
	return r
}

// bulk puts many keys in a few txns. Some bulks are watched, and deleted at once: the events of
// that one revision are more than fits one response, if the watcher takes fragments.
func (g *generator) bulk() []Op {
	key := func(i int) []byte { return fmt.Appendf(nil, "/r/bulk/%03d", i) }
	size := []int{20, 300, 9000}[g.rng.IntN(3)]
	var ops []Op
	if size == 9000 {
		ops = append(ops, Op{Kind: kindWatchCreate, Stream: g.rng.IntN(streamCount),
			Request: &pb.WatchCreateRequest{
				Key: key(0), RangeEnd: []byte("/r/bulk0"), PrevKv: true, Fragment: g.chance(0.8),
			}})
	}
	for from := 0; from < bulkKeys; from += bulkPart {
		t := &pb.TxnRequest{}
		for i := from; i < from+bulkPart; i++ {
			t.Success = append(t.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{
				RequestPut: &pb.PutRequest{
					Key: key(i), Value: bytes.Repeat([]byte{byte('a' + i%26)}, size),
				},
			}})
		}
		ops = append(ops, Op{Kind: "txn", Request: t})
	}
	if size == 9000 {
		ops = append(ops, Op{Kind: "delete", Request: &pb.DeleteRangeRequest{
			Key: key(0), RangeEnd: []byte("/r/bulk0"), PrevKv: g.chance(0.5),
		}})
	}
	return ops
}

// oversized puts a value near a limit and deletes it again.
func (g *generator) oversized() []Op {
	const etcdRequest, overhead = 3 << 19, 512 << 10
	limit := []int{smallRequest, etcdRequest, smallRequest + overhead, etcdRequest + overhead}
	size := limit[g.rng.IntN(len(limit))] + []int{-200, -20, 1, 5000}[g.rng.IntN(4)]
	key := []byte("/r/oversized")
	return []Op{
		{Kind: "put", Request: &pb.PutRequest{Key: key, Value: bytes.Repeat([]byte("o"), size)}},
		{Kind: "delete", Request: &pb.DeleteRangeRequest{Key: key}},
	}
}

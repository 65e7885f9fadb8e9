package difftest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// historyStream is the stream on which the runner watches every key from the start, and from
// where it was after each restart. Scripts number their streams from 0.
const historyStream = -1

// unequal begins the description of answers that differ.
const unequal = "answers differ"

// settleEvery is after how many operations at most the watch streams are compared.
const settleEvery = 200

// Pair is what a run needs to know of the two sides.
type Pair struct {
	Tools    *Toolbox
	Programs [2]string // names for Toolbox.Path
	Options  [2][]grpc.DialOption

	// StrictWatch compares not just the events of a watcher but how they are spread over responses
	// and the revisions in their headers. Two etcds agree on that as long as a watcher does not
	// lag; Cairn may put several revisions into one response.
	StrictWatch bool

	// CompactionHashes compares HashKV also at revisions that were compacted since the last start.
	// There etcd answers, until it is restarted, what it computed while it compacted: the hash as
	// of the compaction before. Cairn computes the hash anew, as etcd does after a restart.
	CompactionHashes bool

	// KeepGoing goes on after answers that differ, so that one run shows all of them.
	KeepGoing bool
}

// Difference tells where the two sides gave different answers, or one of them an impossible one.
type Difference struct {
	Index int    // of the operation in the script, len(Ops) for the checks at its end
	Op    Op     // as in the script
	Sent  string // the request with side A's numbers
	What  string

	// Restless: a leader has changed without being asked to, which may be the cause.
	Restless bool
}

// Error returns the difference as a text of several lines.
func (d *Difference) Error() string {
	return fmt.Sprintf("operation %d: %v\n sent: %s\n%s", d.Index, d.Op, d.Sent, d.What)
}

// Stats counts what a run did.
type Stats struct {
	Ops, Failed, Events, Fragments, Restarts int
}

// runner runs one script on two fresh servers.
type runner struct {
	pair   *Pair
	sides  [2]*Cluster
	script *Script
	stats  Stats

	members map[int]bool // numbers of the members; whether they vote
	lead    int          // who leads, by number
	stale   bool         // some members may not have applied all

	rev       int64 // newest revision, by side A's headers
	compacted int64
	tainted   bool // a key holds a lease whose id a server picked, so hashes differ
	capped    bool // an alarm may refuse the runner's own puts
	lagging   bool // a watcher may be catching up
	hashed    map[hashKey]bool
	nextProbe int64
	sinceComp int // operations since the streams were compared
}

// hashKey names a revision that was compacted since a member was started.
type hashKey struct {
	member   int
	revision int64
}

// Run runs a script on fresh servers under dir. It returns a *Difference if the sides disagree and
// another error if the run could not be made.
func Run(ctx context.Context, pair *Pair, script *Script, dir string) (Stats, error) {
	r := &runner{pair: pair, script: script, rev: 1, nextProbe: probeID, lead: 1,
		hashed: make(map[hashKey]bool), members: make(map[int]bool)}
	defer r.close()
	if err := r.start(ctx, dir); err != nil {
		return r.stats, err
	}
	var kept []error
	for i, op := range script.Ops {
		if err := r.step(ctx, i, op); err != nil {
			kept = append(kept, r.explain(ctx, err))
			var d *Difference
			if !pair.KeepGoing || !errors.As(err, &d) || !strings.HasPrefix(d.What, unequal) {
				return r.stats, errors.Join(kept...)
			}
		}
		r.stats.Ops++
	}
	if script.Partial || len(kept) > 0 {
		return r.stats, errors.Join(kept...)
	}
	return r.stats, r.explain(ctx, r.finish(ctx))
}

// start makes both sides and starts them.
func (r *runner) start(ctx context.Context, dir string) error {
	for i, program := range r.pair.Programs {
		path, err := r.pair.Tools.Path(ctx, program)
		if err != nil {
			return err
		}
		r.sides[i], err = NewCluster(path, dir, i, r.script.Config)
		if err != nil {
			return err
		}
		for _, s := range r.sides[i].Sides {
			s.Options = r.pair.Options[i]
		}
	}
	for n := range max(r.script.Config.Members, 1) {
		r.members[n+1] = true
	}
	if err := both(func(i int) error { return r.sides[i].Start(ctx) }); err != nil {
		return err
	}
	if err := r.settle(ctx); err != nil {
		return err
	}
	for n := range r.members {
		if err := r.watchHistory(n); err != nil {
			return err
		}
	}
	return nil
}

// close ends both sides.
func (r *runner) close() {
	for _, s := range r.sides {
		if s != nil {
			s.Close()
		}
	}
}

// both calls f for both sides at once and returns the first error.
func both(f func(side int) error) error {
	var errs [2]error
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	if errs[0] != nil {
		return errs[0]
	}
	return errs[1]
}

// step does one operation and compares.
func (r *runner) step(ctx context.Context, i int, op Op) error {
	fail := func(what string) error {
		if what == "" {
			return nil
		}
		return &Difference{Index: i, Op: op, Sent: r.sent(op), What: what}
	}
	r.sinceComp++
	if err := r.mayAsk(op); err != nil {
		return fail(err.Error())
	}
	if needsBarrier(op.Kind) || r.sinceComp >= settleEvery {
		if what, err := r.barrier(ctx); err != nil || what != "" {
			return firstError(fail(what), err)
		}
		r.stale = true // by what the barrier put
	}
	if err := r.catchUp(ctx, op); err != nil {
		return fail(err.Error())
	}
	switch op.Kind {
	case kindSettle:
		return nil
	case kindVersions:
		err := both(func(i int) error { return r.sides[i].Side(op.Member).awaitVersions(ctx) })
		if err != nil {
			return fail(err.Error())
		}
		return nil
	case kindExpire:
		what, err := r.expire(ctx, op)
		return firstError(fail(what), err)
	case kindRestart:
		what, err := r.restart(ctx, op)
		return firstError(fail(what), err)
	case kindSnapshot:
		what, err := r.snapshot(ctx, op)
		return firstError(fail(what), err)
	case kindStop, kindStart, kindJoin, kindGone, kindLead, kindLeaderless, kindAge, kindHTTP:
		what, err := r.cluster(ctx, op)
		return firstError(fail(what), err)
	case kindWatchCreate, kindWatchCancel, kindWatchProgress, kindWatchClose:
		what, err := r.watch(ctx, op)
		return firstError(fail(what), err)
	}
	return fail(r.exchange(ctx, op))
}

// firstError returns the first of two errors that is not nil.
func firstError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// needsBarrier tells before which operations the streams must have come to rest.
func needsBarrier(kind string) bool {
	switch kind {
	case "compact", kindWatchCancel, kindWatchProgress, kindWatchClose, kindSettle, kindRestart,
		kindStop:
		return true
	}
	return false
}

// sent returns an operation's request as side A gets it.
func (r *runner) sent(op Op) string {
	if op.Request == nil || r.sides[0] == nil {
		return ""
	}
	return text(r.sides[0].Side(op.Member).resolve(op.Request, r.rev, r.compacted))
}

// exchange makes a call on both sides and compares the answers.
func (r *runner) exchange(ctx context.Context, op Op) string {
	var answers [2]answer
	var bad [2]error
	_ = both(func(i int) error {
		s := r.sides[i].Side(op.Member)
		req := s.resolve(op.Request, r.rev, r.compacted)
		answers[i] = s.call(ctx, op, req)
		for _, m := range answers[i].msgs {
			s.learn(op, m)
			if bad[i] == nil {
				bad[i] = s.normalize(m)
			}
		}
		return nil
	})
	for i, err := range bad {
		if err != nil {
			return fmt.Sprintf("side %s: %v", r.sides[i].Side(op.Member).Name, err)
		}
	}
	a, b := answers[0], answers[1]
	if r.tainted {
		maskHash(a, b)
	}
	if req, ok := op.Request.(*pb.HashKVRequest); ok && !r.pair.CompactionHashes {
		rev := r.sides[0].Side(0).resolve(req, r.rev, r.compacted).(*pb.HashKVRequest).Revision
		if r.hashed[hashKey{max(op.Member, 1), rev}] {
			return ""
		}
	}
	if !sameAnswer(a, b) {
		return fmt.Sprintf(unequal+"\n  A: %v\n  B: %v", a, b)
	}
	if a.err != nil {
		r.stats.Failed++
	}
	return r.note(ctx, op, a)
}

// learn keeps what a side's raw response tells about ids that it picked.
func (s *Side) learn(op Op, m proto.Message) {
	if added, ok := m.(*pb.MemberAddResponse); ok && op.Var != 0 {
		s.setMember(op.Var, added.Member.ID)
	}
	grant, ok := m.(*pb.LeaseGrantResponse)
	if !ok {
		return
	}
	id := grant.ID
	if op.Request.(*pb.LeaseGrantRequest).ID == 0 {
		id = LeaseVar(op.Var)
		s.leases[id], s.symbols[grant.ID] = grant.ID, id
	}
	s.ttls[id] = grant.TTL
}

// maskHash makes hashes equal: they cover lease ids, which differ on the two sides by now.
func maskHash(a, b answer) {
	for _, x := range []answer{a, b} {
		for _, m := range x.msgs {
			if h, ok := m.(*pb.HashKVResponse); ok {
				h.Hash = 1
			}
		}
	}
}

// note keeps what an answer, the same on both sides, tells about the state.
func (r *runner) note(ctx context.Context, op Op, a answer) string {
	switch req := op.Request.(type) {
	case *pb.PutRequest, *pb.TxnRequest:
		mapInts(req, func(v int64) int64 {
			r.tainted = r.tainted || within(v, leaseSymbol)
			return v
		})
	case *pb.AlarmRequest:
		r.capped = true // until a put succeeds
	}
	for _, m := range a.msgs {
		if h, ok := m.(interface{ GetHeader() *pb.ResponseHeader }); ok && h.GetHeader() != nil {
			r.rev = max(r.rev, h.GetHeader().Revision)
		}
	}
	r.noteMembers(a)
	if op.Kind != "compact" || a.err != nil {
		return ""
	}
	req := op.Request.(*pb.CompactionRequest)
	resolved := r.sides[0].Side(0).resolve(req, r.rev, r.compacted)
	r.compacted = resolved.(*pb.CompactionRequest).Revision
	for n := range r.sides[0].Sides {
		r.hashed[hashKey{n + 1, r.compacted}] = true
	}
	if req.Physical {
		return ""
	}
	// The same once more fails, but only after the compaction in the background is through.
	for _, s := range r.sides[0].Running() {
		n := max(s.Server.Number, 1)
		again := Op{Kind: "compact", Member: n, Request: &pb.CompactionRequest{
			Revision: Compacted(0), Physical: true,
		}}
		if what := r.exchange(ctx, again); what != "" && r.members[n] {
			return what
		}
	}
	return ""
}

// restart stops both servers, or one member of each cluster, and starts them again.
func (r *runner) restart(ctx context.Context, op Op) (string, error) {
	if what, err := r.stop(ctx, op); err != nil || what != "" {
		return what, err
	}
	r.stats.Restarts++
	return r.startAgain(ctx, op)
}

// finish compares all that can be seen at the end of a script, before and after restarts.
func (r *runner) finish(ctx context.Context) error {
	end := len(r.script.Ops)
	signals := []string{"KILL", "TERM"}
	if r.script.Config.Members > 1 {
		signals = signals[:1] // a restart of one takes seconds; scripts have more of them
	}
	for _, op := range finalOps(signals) {
		for n := range max(r.script.Config.Members, 1) {
			if r.script.Config.Members > 1 {
				op.Member, op.Stream = n+1, op.Stream+n
			}
			if !r.sides[0].Side(op.Member).running() || op.Kind == kindRestart && n > 0 {
				continue
			}
			if err := r.step(ctx, end, op); err != nil {
				return err
			}
		}
	}
	return nil
}

// finalOps returns the operations that end every run, with a restart for each signal.
func finalOps(signals []string) []Op {
	look := func() []Op {
		return []Op{
			{Kind: kindSettle},
			{Kind: "hashkv", Request: &pb.HashKVRequest{}},
			{Kind: "hashkv", Request: &pb.HashKVRequest{Revision: Rev(-7)}},
			{Kind: "hashkv", Request: &pb.HashKVRequest{Revision: Compacted(0)}},
			{Kind: "hashkv", Request: &pb.HashKVRequest{Revision: Compacted(1)}},
			{Kind: "range", Request: &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}},
			{Kind: "range", Request: &pb.RangeRequest{
				Key: []byte{0}, RangeEnd: []byte{0}, Revision: Compacted(1),
			}},
			{Kind: "leases", Request: &pb.LeaseLeasesRequest{}},
			{Kind: kindWatchCreate, Stream: 99, Request: &pb.WatchCreateRequest{
				Key: []byte{0}, RangeEnd: []byte{0}, StartRevision: Compacted(1), PrevKv: true,
			}},
			{Kind: kindSettle},
			{Kind: kindSnapshot, Request: &pb.SnapshotRequest{}},
		}
	}
	ops := look()
	for _, signal := range signals {
		ops = append(append(ops, Op{Kind: kindRestart, Signal: signal}), look()...)
	}
	return ops
}

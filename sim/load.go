package sim

import (
	"fmt"
	"time"

	"github.com/cairnkv/cairn/check"
)

// load is what the clients do, and what came of it.
type load struct {
	s      *Sim
	ledger *check.Ledger
	ops    []*check.Op
	// compacted is the highest revision of which a compaction was acknowledged.
	compacted int64
	over      bool // clients stop when they can
	active    int  // clients that have not stopped

	watchers []*watcher
	tenants  []*tenant
	turns    []check.Turn
	guarded  []check.Guarded
}

func newLoad(s *Sim) *load {
	l := &load{s: s, ledger: check.NewLedger()}
	l.ledger.Foreign = func(key string) bool { return !isKV(key) }
	return l
}

// client starts a client's task.
func (l *load) client(name string, run func()) {
	l.active++
	l.s.clients.Go(name, func() {
		defer func() { l.active-- }()
		run()
	})
}

// working says whether a client is to go on.
func (l *load) working() bool {
	return !l.over && (l.s.opts.Ops == 0 || len(l.ops) < l.s.opts.Ops)
}

// begin notes that operations are about to be sent, in one request.
func (l *load) begin(ops ...*check.Op) {
	var changes []check.Change
	for _, o := range ops {
		if o.MayWrite() {
			changes = append(changes,
				check.Change{Key: o.Key, Value: o.Value, Delete: o.Kind == check.Delete})
		}
	}
	var attempt *check.Attempt
	if len(changes) > 0 {
		attempt = l.ledger.Try(changes...)
	}
	for _, o := range ops {
		o.Attempt = attempt
		o.Start, o.End = l.s.now, check.Forever
		l.ops = append(l.ops, o)
	}
}

// answered notes an answer; what was found is in the operations already.
func (l *load) answered(revision int64, ops ...*check.Op) {
	for _, o := range ops {
		o.End, o.Revision = l.s.now, revision
	}
	if o := ops[0]; o.Attempt != nil {
		l.ledger.Acked(o.Attempt, revision, o.Writes())
	}
	l.s.Stats.Acked++
}

// readPast notes that a revision was read although it may have been compacted before.
func (l *load) readPast(revision, compacted int64) {
	if revision < compacted {
		l.s.fail(fmt.Errorf("revision %d was read after the compaction of %d was acknowledged",
			revision, compacted))
	}
}

// unanswered notes that nobody knows what was done.
func (l *load) unanswered(ops ...*check.Op) {
	if o := ops[0]; o.Attempt != nil {
		l.ledger.Unknown(o.Attempt)
	}
	l.s.Stats.Unknown++
}

// refused notes that a member has said that nothing was done: it must not be in the history.
func (l *load) refused(ops ...*check.Op) {
	if o := ops[0]; o.Attempt != nil {
		l.ledger.Refused(o.Attempt)
	}
	l.s.Stats.Refused++
}

// begun starts all clients.
func (l *load) start() {
	o := l.s.opts
	for i := range o.Workers {
		w := &worker{
			s: l.s, id: i, rng: stream(o.Seed, uint64(1000+i)), known: map[string]int64{},
		}
		l.client("worker", w.run)
	}
	for i := range o.Watchers {
		w := newWatcher(l.s, i)
		l.watchers = append(l.watchers, w)
		l.s.clients.Go("watcher", w.run)
	}
	for i := range o.Tenants + o.Leaseholders {
		t := &tenants{s: l.s, number: i, rng: stream(o.Seed, uint64(2000+i)),
			holder: i >= o.Tenants}
		l.client("tenant", t.run)
	}
	for i := range o.Scribes {
		c := &scribe{s: l.s, number: i, rng: stream(o.Seed, uint64(7000+i))}
		l.client("scribe", c.run)
	}
	for i := range o.Lockers {
		k := &locker{s: l.s, number: i, rng: stream(o.Seed, uint64(3000+i))}
		l.client("locker", k.run)
	}
	if o.CompactEvery > 0 {
		l.client("compactor", l.compact)
	}
}

// retryPause is how long a client waits after an error.
const retryPause = 20 * time.Millisecond

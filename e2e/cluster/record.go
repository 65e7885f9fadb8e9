package cluster

import (
	"sync"
	"time"

	"github.com/cairnkv/cairn/check"
)

// Recorder collects operations. Its methods may be called from everywhere.
type Recorder struct {
	Ledger *check.Ledger
	began  time.Time

	mu    sync.Mutex // guards the fields below
	ops   []*check.Op
	acked time.Duration // when the last write was acknowledged
	gap   time.Duration // the longest between two such moments
}

// NewRecorder returns a recorder whose ledger knows the keys under prefix.
func NewRecorder(foreign func(key string) bool) *Recorder {
	r := &Recorder{Ledger: check.NewLedger(), began: time.Now()}
	r.Ledger.Foreign = foreign
	return r
}

// Begin notes that operations are about to be sent, in one request.
func (r *Recorder) Begin(ops ...*check.Op) {
	var changes []check.Change
	for _, o := range ops {
		if o.MayWrite() {
			changes = append(changes,
				check.Change{Key: o.Key, Value: o.Value, Delete: o.Kind == check.Delete})
		}
	}
	var attempt *check.Attempt
	if len(changes) > 0 {
		attempt = r.Ledger.Try(changes...)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range ops {
		o.Attempt = attempt
		o.Start, o.End = time.Since(r.began), check.Forever
		r.ops = append(r.ops, o)
	}
}

// Answered notes that the request of operations was answered; what they found is in them already.
func (r *Recorder) Answered(revision int64, ops ...*check.Op) {
	end := time.Since(r.began)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range ops {
		o.End, o.Revision = end, revision
	}
	if o := ops[0]; o.Attempt != nil {
		r.Ledger.Acked(o.Attempt, revision, o.Writes())
		r.gap = max(r.gap, end-r.acked)
		r.acked = max(r.acked, end)
	}
}

// Gap returns the longest time without an acknowledged write of any client since the last call,
// up to now.
func (r *Recorder) Gap() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	gap := max(r.gap, time.Since(r.began)-r.acked)
	r.gap = 0
	return gap
}

// Unanswered notes that the request of operations failed: it may or may not have been done.
func (r *Recorder) Unanswered(ops ...*check.Op) {
	if o := ops[0]; o.Attempt != nil {
		r.Ledger.Unknown(o.Attempt)
	}
}

// Ops returns all operations so far. Nobody may be at work any more.
func (r *Recorder) Ops() []*check.Op {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ops
}

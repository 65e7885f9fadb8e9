package cluster

import (
	"fmt"
	"sync"
	"time"

	"github.com/cairnkv/cairn/e2e"
)

// Kind is what an operation does.
type Kind int

// The kinds. A read of the past and a serializable one may be old, but must have been true at the
// revision that they name; all others are linearizable.
const (
	Put Kind = iota
	Delete
	Swap // a put if the key's revision of modification is Expect, else a read
	Get
	GetSerializable
	GetPast // at the revision Expect
)

func (k Kind) String() string {
	return [...]string{"put", "delete", "swap", "get", "serializable get", "get of the past"}[k]
}

// Value is what a key has: nothing if Modified is 0.
type Value struct {
	Value             string
	Created, Modified int64 // revisions
	Version           int64
}

// Op is one operation on one key, with what came of it. A transaction of several keys is one Op for
// each, of the same times and revision.
type Op struct {
	Client int
	Kind   Kind
	Key    string
	Value  string // to put; no two operations put the same
	Expect int64

	Start, End time.Duration // since the recorder was made; End of an unanswered one is Forever
	Revision   int64         // of the answer's header; 0 if it was not answered
	Done       bool          // Swap has put, Delete has deleted
	Found      Value         // by reads, by Delete and a Swap that has put as the value before
	HasFound   bool          // Found was asked for

	attempt *e2e.Attempt // of writes
}

// Forever is the end of an operation that was not answered: it may be done at any later time.
const Forever = time.Duration(1<<63 - 1)

func (o *Op) String() string {
	what := fmt.Sprintf("client %d: %v %s", o.Client, o.Kind, o.Key)
	switch o.Kind {
	case Put:
		what += fmt.Sprintf(" = %s", o.Value)
	case Swap:
		what += fmt.Sprintf(" = %s if of revision %d", o.Value, o.Expect)
	case GetPast:
		what += fmt.Sprintf(" at revision %d", o.Expect)
	}
	if o.Revision == 0 {
		return fmt.Sprintf("%s, %v: no answer", what, o.Start)
	}
	return fmt.Sprintf("%s, %v to %v: revision %d, done %v, found %+v", what, o.Start, o.End,
		o.Revision, o.Done, o.Found)
}

// writes says whether the operation changed the store, as far as its client knows.
func (o *Op) writes() bool {
	return o.Kind == Put || (o.Kind == Delete || o.Kind == Swap) && o.Done
}

// mayWrite says whether the operation is one that can change the store.
func (o *Op) mayWrite() bool { return o.Kind == Put || o.Kind == Delete || o.Kind == Swap }

// linearizable says whether the operation has to be the newest truth.
func (o *Op) linearizable() bool { return o.Kind != GetSerializable && o.Kind != GetPast }

// Recorder collects operations. Its methods may be called from everywhere.
type Recorder struct {
	Ledger *e2e.Ledger
	began  time.Time

	mu    sync.Mutex // guards the fields below
	ops   []*Op
	acked time.Duration // when the last write was acknowledged
	gap   time.Duration // the longest between two such moments
}

// NewRecorder returns a recorder whose ledger knows the keys under prefix.
func NewRecorder(foreign func(key string) bool) *Recorder {
	r := &Recorder{Ledger: e2e.NewLedger(), began: time.Now()}
	r.Ledger.Foreign = foreign
	return r
}

// Begin notes that operations are about to be sent, in one request.
func (r *Recorder) Begin(ops ...*Op) {
	var changes []e2e.Change
	for _, o := range ops {
		if o.mayWrite() {
			changes = append(changes,
				e2e.Change{Key: o.Key, Value: o.Value, Delete: o.Kind == Delete})
		}
	}
	var attempt *e2e.Attempt
	if len(changes) > 0 {
		attempt = r.Ledger.Try(changes...)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range ops {
		o.attempt = attempt
		o.Start, o.End = time.Since(r.began), Forever
		r.ops = append(r.ops, o)
	}
}

// Answered notes that the request of operations was answered; what they found is in them already.
func (r *Recorder) Answered(revision int64, ops ...*Op) {
	end := time.Since(r.began)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range ops {
		o.End, o.Revision = end, revision
	}
	if o := ops[0]; o.attempt != nil {
		r.Ledger.Acked(o.attempt, revision, o.writes())
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
func (r *Recorder) Unanswered(ops ...*Op) {
	if o := ops[0]; o.attempt != nil {
		r.Ledger.Unknown(o.attempt)
	}
}

// Ops returns all operations so far. Nobody may be at work any more.
func (r *Recorder) Ops() []*Op {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ops
}

package check

import (
	"fmt"
	"time"
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

	Attempt *Attempt // the request that it is a part of, if it writes
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

// Writes says whether the operation changed the store, as far as its client knows.
func (o *Op) Writes() bool {
	return o.Kind == Put || (o.Kind == Delete || o.Kind == Swap) && o.Done
}

// MayWrite says whether the operation is one that can change the store.
func (o *Op) MayWrite() bool { return o.Kind == Put || o.Kind == Delete || o.Kind == Swap }

// Linearizable says whether the operation has to be the newest truth.
func (o *Op) Linearizable() bool { return o.Kind != GetSerializable && o.Kind != GetPast }

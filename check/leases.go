package check

import (
	"fmt"
	"slices"
	"time"
)

// Tenancy is a lease with its key, as its client knows it.
type Tenancy struct {
	ID    int64
	Key   string
	Since int64         // revision under which the key was put
	Until time.Duration // by what was promised it may not go before
	// Ended says that its client has asked for its end, or may have.
	Ended bool
	// Bound says that the key was put with the lease for sure, and must be gone when all leases
	// are.
	Bound bool
}

// Leases looks for keys that went although their leases were promised to live, and for those that
// are there when no lease is any more. gone tells when somebody first saw the end of a key in a
// revision after another, which is after it was.
func Leases(all []*Tenancy, gone func(key string, after int64) (time.Duration, bool)) error {
	for _, t := range all {
		at, ok := gone(t.Key, t.Since)
		if ok && !t.Ended && at < t.Until {
			return fmt.Errorf("lease %x, %s: the key went %v before the time that was promised",
				t.ID, t.Key, t.Until-at)
		}
		if !ok && t.Bound {
			return fmt.Errorf("lease %x, %s: the key has outlived the lease", t.ID, t.Key)
		}
	}
	return nil
}

// Turn is a time in which a client was sure to hold a lock.
type Turn struct {
	Holder   string
	From, To time.Duration
}

// Turns looks for two clients that were sure to hold the lock at one time.
func Turns(turns []Turn) error {
	slices.SortFunc(turns, func(a, b Turn) int { return int(a.From - b.From) })
	for i, t := range turns {
		if i > 0 && t.From < turns[i-1].To && t.To > t.From {
			last := turns[i-1]
			return fmt.Errorf("%s held the lock from %v to %v, and %s from %v on", last.Holder,
				last.From, last.To, t.Holder, t.From)
		}
	}
	return nil
}

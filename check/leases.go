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
	Until time.Duration // by what was promised it may not go before
	// Ended says that its client has asked for its end, or may have.
	Ended bool
}

// Leases looks for keys that went although their leases were promised to live. gone tells when
// somebody saw a key's end first, which is after it was.
func Leases(all []*Tenancy, gone func(key string) (time.Duration, bool)) error {
	for _, t := range all {
		if at, ok := gone(t.Key); ok && !t.Ended && at < t.Until {
			return fmt.Errorf("lease %x ended %v before the time that was promised", t.ID,
				t.Until-at)
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

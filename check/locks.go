package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Guarded is a write that was done under the condition that a lock was held.
type Guarded struct {
	Holder   string // its key below the lock's prefix
	Revision int64
}

// Locks replays the history of a lock, whose waiting have keys with the prefix: at each write the
// writer's key must have been the oldest of them, and the turns of two holders must not overlap.
// writes is sorted.
func Locks(h *History, prefix string, writes []Guarded) error {
	slices.SortFunc(writes, func(a, b Guarded) int { return int(a.Revision - b.Revision) })
	waiting := make(map[string]int64) // key -> revision of creation
	over := make(map[string]bool)     // holders whose turn is over
	last, next := "", 0
	for _, e := range h.Events {
		if strings.HasPrefix(e.Key, prefix) {
			if e.Delete {
				delete(waiting, e.Key)
			} else if waiting[e.Key] == 0 {
				waiting[e.Key] = e.Revision
			}
		}
		if next == len(writes) || e.Revision != writes[next].Revision {
			continue
		}
		holder := writes[next].Holder
		next++
		for _, key := range slices.Sorted(maps.Keys(waiting)) {
			if waiting[holder] == 0 || waiting[key] < waiting[holder] {
				return fmt.Errorf("at revision %d %s wrote as the lock's holder, but %s has it",
					e.Revision, holder, key)
			}
		}
		if holder != last {
			over[last] = true
			last = holder
		}
		if over[holder] {
			return fmt.Errorf("at revision %d %s wrote as the lock's holder again, after another",
				e.Revision, holder)
		}
	}
	if next < len(writes) {
		return fmt.Errorf("the write of revision %d under the lock is not in the history",
			writes[next].Revision)
	}
	return nil
}

package check

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
)

// state is what a key had from a revision on.
type state struct {
	revision int64
	value    Value
}

// Timeline is every state that the store ever had, from its history.
type Timeline struct {
	end    int64 // the last revision
	keys   map[string][]state
	writes map[string]int64 // value -> the revision that put it
}

// NewTimeline replays a history. No two puts of one value may be
// among those of keys that are own.
func NewTimeline(h *History, own func(key string) bool) *Timeline {
	t := &Timeline{end: h.Revision, keys: make(map[string][]state),
		writes: make(map[string]int64)}
	for _, e := range h.Events {
		if e.Delete {
			t.keys[e.Key] = append(t.keys[e.Key], state{e.Revision, Value{}})
			continue
		}
		v := t.At(e.Key, e.Revision)
		if v.Modified == 0 {
			v.Created = e.Revision
		}
		v.Value, v.Modified, v.Version = e.Value, e.Revision, v.Version+1
		t.keys[e.Key] = append(t.keys[e.Key], state{e.Revision, v})
		if own(e.Key) {
			t.writes[e.Value] = e.Revision
		}
	}
	return t
}

// At returns what a key had at a revision, with what that revision itself changed.
func (t *Timeline) At(key string, revision int64) Value {
	states := t.keys[key]
	i := sort.Search(len(states), func(i int) bool { return states[i].revision > revision })
	if i == 0 {
		return Value{}
	}
	return states[i-1].value
}

// Keys returns all keys that exist at a revision, with what they have.
func (t *Timeline) Keys(revision int64) map[string]Value {
	all := make(map[string]Value)
	for key := range t.keys {
		if v := t.At(key, revision); v.Modified != 0 {
			all[key] = v
		}
	}
	return all
}

// Resolve fills in the revisions of puts that were not answered, but are in the history, and
// returns the operations that may have been done: without the reads that were not answered,
// without the puts that are not in the history, and without the deletes that were not answered of
// keys of which each delete in the history was. None of them leaves a trace.
func (t *Timeline) Resolve(ops []*Op) []*Op {
	var out []*Op
	open := t.openDeletes(ops)
	for _, o := range ops {
		if o.Kind == Delete && o.Revision == 0 && open[o.Key] == 0 {
			continue
		}
		if o.Revision == 0 && (o.Kind == Put || o.Kind == Swap) {
			o.Revision = t.writes[o.Value]
			o.Done = o.Revision != 0
		}
		if o.Revision != 0 || o.Kind == Delete {
			out = append(out, o)
		}
	}
	return out
}

// openDeletes counts, by key, the deletes in the history that no operation was told of.
func (t *Timeline) openDeletes(ops []*Op) map[string]int {
	open := make(map[string]int)
	for key, states := range t.keys {
		for _, s := range states {
			if s.value.Modified == 0 {
				open[key]++
			}
		}
	}
	for _, o := range ops {
		if o.Kind == Delete && o.Done && o.Revision != 0 {
			open[o.Key]--
		}
	}
	return open
}

// CheckStates holds what each operation found against the history: everything that was ever read
// must have been so at the revision that the answer names.
func (t *Timeline) CheckStates(ops []*Op) error {
	for _, o := range ops {
		if o.Revision > t.end {
			return fmt.Errorf("the history ends with revision %d before %v", t.end, o)
		}
		if o.Revision == 0 || o.End == Forever {
			continue
		}
		at := o.Revision
		switch {
		case o.Kind == GetPast:
			at = o.Expect
		case o.Writes():
			at = o.Revision - 1 // what was found is what was before
		}
		want := t.At(o.Key, at)
		if o.HasFound && o.Found != want {
			return fmt.Errorf("a wrong answer: at revision %d the key had %+v, but %v", at, want, o)
		}
		if o.Kind == Delete && o.Done != (want.Modified != 0) ||
			o.Kind == Swap && o.Done != (want.Modified == o.Expect) {
			return fmt.Errorf("a wrong decision: at revision %d the key had %+v, but %v", at, want,
				o)
		}
	}
	return nil
}

// Order holds revisions against time: what was answered before an operation began has a
// revision that is not higher, and that of a write is higher than all of those. With CheckStates
// this is linearizability of the whole store, not of single keys alone.
func Order(ops []*Op) error {
	var begun, ended []*Op
	for _, o := range ops {
		if o.Revision == 0 || !o.Linearizable() {
			continue
		}
		begun = append(begun, o)
		if o.End != Forever {
			ended = append(ended, o)
		}
	}
	slices.SortFunc(begun, func(a, b *Op) int { return cmp.Compare(a.Start, b.Start) })
	slices.SortFunc(ended, func(a, b *Op) int { return cmp.Compare(a.End, b.End) })
	var newest *Op
	next := 0
	for _, o := range begun {
		for ; next < len(ended) && ended[next].End < o.Start; next++ {
			if newest == nil || ended[next].Revision > newest.Revision {
				newest = ended[next]
			}
		}
		if newest == nil {
			continue
		}
		if o.Revision < newest.Revision || o.Writes() && o.Revision == newest.Revision {
			return fmt.Errorf("time goes back: first\n\t%v\nand then\n\t%v", newest, o)
		}
	}
	return nil
}

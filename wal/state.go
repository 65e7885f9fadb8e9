package wal

import (
	"fmt"
	"slices"
)

// logState is what the log says, without the entries: the same code checks what is appended and
// what is read back. It holds
//
//	base <= commit <= last, if a hard state was ever stored
//	terms: ascending spans; the first begins at or before base, none after last
type logState struct {
	base  uint64 // the entry before the first: its term is known
	last  uint64
	terms []termSpan
	hard  hardState
}

// termSpan says that entries from index on have term.
type termSpan struct{ from, term uint64 }

// restart empties the log, with the entry at base before its first.
func (s *logState) restart(base, term uint64) {
	s.base, s.last = base, base
	s.terms = append(s.terms[:0], termSpan{base, term})
}

// term returns the term of an entry from base to last.
func (s *logState) term(index uint64) uint64 {
	i := len(s.terms) - 1
	if s.terms[i].from > index { // most ask for the newest
		i, _ = slices.BinarySearchFunc(s.terms, index+1, func(t termSpan, at uint64) int {
			if t.from < at {
				return -1
			}
			return 1
		})
		i--
	}
	return s.terms[i].term
}

// checkEntry says what is wrong with putting an entry at index; nil if nothing.
func (s *logState) checkEntry(index, term uint64) error {
	switch {
	case index <= s.base:
		return fmt.Errorf("entry %d is before the log, which begins at %d", index, s.base+1)
	case index > s.last+1:
		return fmt.Errorf("entry %d leaves a gap after %d", index, s.last)
	case index <= s.hard.commit:
		return fmt.Errorf("entry %d replaces one that is committed (up to %d)",
			index, s.hard.commit)
	case term < s.term(index-1):
		return fmt.Errorf("entry %d has term %d, lower than the %d of the one before",
			index, term, s.term(index-1))
	}
	return nil
}

// entry puts an entry that was checked; what was at and after its index is gone.
func (s *logState) entry(index, term uint64) {
	n := len(s.terms)
	for n > 1 && s.terms[n-1].from >= index {
		n--
	}
	s.terms = s.terms[:n]
	if s.terms[n-1].term != term {
		s.terms = append(s.terms, termSpan{index, term})
	}
	s.last = index
}

// checkState says what is wrong with storing a hard state.
func (s *logState) checkState(h hardState) error {
	switch {
	case h.term < s.hard.term:
		return fmt.Errorf("hard state goes back from term %d to %d", s.hard.term, h.term)
	case h.commit < s.hard.commit:
		return fmt.Errorf("hard state goes back from commit %d to %d", s.hard.commit, h.commit)
	case h.commit > s.last:
		return fmt.Errorf("hard state commits %d, and the log ends at %d", h.commit, s.last)
	}
	return nil
}

// checkReset says what is wrong with beginning anew after index.
func (s *logState) checkReset(index uint64) error {
	if index < s.hard.commit {
		return fmt.Errorf("reset to %d, and %d is committed", index, s.hard.commit)
	}
	return nil
}

// reset begins anew after index. All up to it is committed, for a snapshot says so.
func (s *logState) reset(index, term uint64) {
	s.restart(index, term)
	s.hard.commit = max(s.hard.commit, index)
}

// truncate forgets the entries up to index, which is from base to last, but for the term of that
// at index.
func (s *logState) truncate(index uint64) {
	s.base = index
	n := 0
	for n+1 < len(s.terms) && s.terms[n+1].from <= index {
		n++
	}
	s.terms = slices.Delete(s.terms, 0, n)
}

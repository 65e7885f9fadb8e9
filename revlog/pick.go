package revlog

// What decides which files are rewritten.
const (
	// reclaimShare: a file is rewritten when 1/reclaimShare of its records can go.
	reclaimShare = 4
	// sweepShare: when dead tombstones that have to stay take 1/sweepShare of all records, the
	// files that make them stay are rewritten.
	//
	// A log at rest holds at most 1/4 + 1/16 of what is dead, so less than 1.46 times the live
	// data.
	sweepShare = 16
	// maxGroup bounds the files that are merged at once.
	maxGroup = 64
)

// survey is what pick knows of the files that may be rewritten: those before the checkpoint's
// segment.
type survey struct {
	files        []*file
	done, target int64 // see Index.Compaction
	// limits[i] is the revision up to which dead tombstones of files[i] may go: the least
	// clean revision of the files before it.
	limits []int64
	// segment is the size that files are merged up to, budget the most that a rewrite may
	// write.
	segment, budget int64
}

// pick chooses what to rewrite next, nil if there is nothing to gain.
func (r *reclaimer) pick(l *Log, idx Index, cp Checkpoint) *job {
	s := survey{segment: l.targetBytes(), budget: r.budget}
	s.done, s.target = idx.Compaction() // before the counters are read: see cleanAt
	if r.budget == 0 {
		s.budget = MaxSegmentBytes
	}
	l.mu.Lock()
	for _, f := range l.view.Load().files {
		if !f.sealed || f.id.hi >= cp.Mark.Segment {
			break
		}
		s.files = append(s.files, f)
	}
	l.mu.Unlock()
	limit := s.done
	for _, f := range s.files {
		s.limits = append(s.limits, limit)
		limit = min(limit, f.cleanAt(s.done))
	}
	from, to := s.best()
	if from == to {
		from, to = r.sweep(&s)
	}
	if from == to {
		from, to = s.smallest()
	}
	if from == to {
		r.raiseBudget()
		return nil
	}
	return &job{in: s.files[from:to:to], done: s.done, limit: s.limits[from]}
}

// cleanAt is the revision up to which superseded puts are not in the file, given that the index has
// finished a compaction. Without a dead put, there is none that this compaction found.
func (f *file) cleanAt(done int64) int64 {
	if f.deadPuts.Load() == 0 {
		return max(f.clean, done)
	}
	return f.clean
}

// gain is the bytes that a rewrite of file i frees.
func (s *survey) gain(i int) int64 {
	f := s.files[i]
	gain := f.deadPuts.Load()
	// Which of the dead tombstones are not beyond the limit is not known in general.
	if f.last.Main <= s.limits[i] || s.limits[i] >= s.done && s.done == s.target {
		gain += f.deadTombs.Load()
	}
	return min(gain, f.recordBytes())
}

// best is the group around the file with the largest share of bytes to gain, if that is enough.
func (s *survey) best() (from, to int) {
	at, gain, bytes := -1, int64(1), int64(reclaimShare)
	for i, f := range s.files {
		g, b := s.gain(i), f.recordBytes()
		if g > 0 && b > 0 && g*bytes >= gain*b && (at < 0 || g*bytes > gain*b) &&
			f.remaining() <= s.budget {
			at, gain, bytes = i, g, b
		}
	}
	if at < 0 {
		return 0, 0
	}
	return s.extend(at)
}

// extend adds neighbours to file i as long as all together stay below a segment: they would be
// merged anyway.
func (s *survey) extend(i int) (from, to int) {
	from, to = i, i+1
	sum := s.files[i].staying()
	most := min(s.segment, s.budget)
	for to-from < maxGroup {
		left, right := int64(-1), int64(-1)
		if from > 0 {
			left = s.files[from-1].staying()
		}
		if to < len(s.files) {
			right = s.files[to].staying()
		}
		switch {
		case left >= 0 && sum+left < most && (right < 0 || left <= right):
			from--
			sum += left
		case right >= 0 && sum+right < most:
			to++
			sum += right
		default:
			return from, to
		}
	}
	return from, to
}

// smallest is the group of neighbours, together below a segment, that costs least for each file
// that it saves.
func (s *survey) smallest() (from, to int) {
	least := min(s.segment, s.budget)
	for i := 0; i+1 < len(s.files); i++ {
		sum := s.files[i].staying() + s.files[i+1].staying()
		if sum < least {
			least = sum
			from, to = i, i+2
		}
	}
	if from == to {
		return 0, 0
	}
	return s.extend(from)
}

// sweep is the next file of a sweep: from the oldest file on, each one that holds dead records is
// rewritten. Once it has passed, no put that was superseded up to sweepTo is on disk, and the
// tombstones up to it went with them, each in the rewrite of its own file. Puts that die during
// the sweep do not matter to it.
func (r *reclaimer) sweep(s *survey) (from, to int) {
	if r.sweepTo == 0 {
		if s.done != s.target || s.done <= r.swept || !s.tooManyTombs() {
			return 0, 0
		}
		r.sweepTo, r.sweepNext = s.done, 1
	}
	end := 0 // behind the last file with a tombstone to drop
	for i, f := range s.files {
		if f.deadTombs.Load() > 0 {
			end = i + 1
		}
	}
	for i, f := range s.files[:end] {
		if f.id.hi < r.sweepNext {
			continue
		}
		if f.deadTombs.Load() == 0 && f.cleanAt(s.done) >= r.sweepTo {
			r.sweepNext = f.id.hi + 1
			continue
		}
		r.sweepNext = f.id.lo
		if f.remaining() > s.budget {
			return 0, 0
		}
		return i, i + 1
	}
	r.swept, r.sweepTo = r.sweepTo, 0
	r.count(func(s *ReclaimStats) { s.Sweeps++ })
	return 0, 0
}

// tooManyTombs says whether dead tombstones take so much that a sweep pays.
func (s *survey) tooManyTombs() bool {
	var tombs, all int64
	for _, f := range s.files {
		tombs += f.deadTombs.Load()
		all += f.recordBytes()
	}
	return tombs > 0 && tombs*sweepShare > all
}

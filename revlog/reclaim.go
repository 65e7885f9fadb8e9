package revlog

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/cairnkv/cairn/vfs"
)

// Index is what the log's owner knows about records. Its methods are called by ReclaimStep only, on
// the goroutine that calls that, with no lock of the log held.
type Index interface {
	// Compaction tells the compact revision that the index works on, and the one up to which
	// that work, with all its calls of Dead, is done (done <= target; neither goes back).
	Compaction() (done, target int64)
	// Alive sets Alive of each candidate whose version the index still has.
	Alive(batch []Candidate)
	// Moved makes the index point from Old to New and sets Moved; if the index does not have
	// the version any more, it leaves Moved false (and does not call Dead for New).
	Moved(batch []Move)
}

// Candidate is a record that may be dropped.
type Candidate struct {
	Pos    Pos
	Record Record // valid during the call
	Alive  bool
}

// Move is a record that was copied.
type Move struct {
	Old, New Pos
	Record   Record // at New; valid during the call
	Moved    bool
}

// Checkpoint describes the durable checkpoint that a restart would choose now. (If a restart may
// choose among several: the lesser of each field.)
type Checkpoint struct {
	Mark       Mark  // its position in this log
	CompactRev int64 // the compact revision in it
}

// ReclaimState says what a step did.
type ReclaimState uint8

// States. Of a larger one the owner may care more.
const (
	// ReclaimIdle: there is nothing to gain now. Call again after a compaction or a checkpoint.
	ReclaimIdle ReclaimState = iota
	// ReclaimWorked: something was done; call again at once or when the rate allows.
	ReclaimWorked
	// ReclaimWaits: a rewritten file waits for a checkpoint later than the one given. Call
	// again when there is one; it is worth making.
	ReclaimWaits
	// ReclaimNoSpace: the disk is too full for a rewrite. What it wrote was removed. Calls
	// in the near future return ReclaimIdle, then a smaller one is tried.
	ReclaimNoSpace
)

func (s ReclaimState) String() string {
	return [...]string{"idle", "worked", "waits for a checkpoint", "no space"}[s]
}

const (
	// reclaimBatch bounds the records of one call of the Index, that is: how long it may hold
	// its lock.
	reclaimBatch = 256
	// reclaimWriteBytes is the size of one write of a copy.
	reclaimWriteBytes = 256 << 10
	// maxBackoff bounds how many steps are skipped after the disk was found full.
	maxBackoff = 1 << 6
)

// reclaimer is the state of reclaiming, under its own lock.
type reclaimer struct {
	mu  sync.Mutex
	job *job

	leftover []string // files to remove that could not be removed

	sweepTo   int64  // the sweep under way: tombstones up to this revision are to go; 0 = none
	sweepNext uint64 // the segment that it comes to next
	swept     int64  // sweepTo of the last one that ended

	budget  int64 // the largest rewrite that is tried, bytes; 0 = unlimited
	backoff int   // steps to skip next time
	skip    int   // steps still to skip

	statsMu sync.Mutex // guards stats
	stats   ReclaimStats

	candidates [reclaimBatch]Candidate
	moves      [reclaimBatch]Move
}

// ReclaimStep does a piece of the work of giving space back, reading about maxBytes at most (one
// record or sync may be larger), and says how it went. The owner calls it again and again from
// one background goroutine; see the package comment for the rules. An error that is not nil is a
// *CorruptError or comes from the disk; the owner ends the process as after any such error.
func (l *Log) ReclaimStep(idx Index, cp Checkpoint, maxBytes int) (ReclaimState, error) {
	r := &l.reclaim
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := l.err(); err != nil {
		return ReclaimIdle, err
	}
	if err := errors.Join(l.unmapRetired(), r.removeLeftover(l)); err != nil {
		return ReclaimIdle, err
	}
	if r.skip > 0 {
		r.skip--
		return ReclaimIdle, nil
	}
	if r.job == nil {
		if r.job = r.pick(l, idx, cp); r.job == nil {
			return ReclaimIdle, nil
		}
	}
	state, err := r.job.step(l, idx, cp, int64(maxBytes))
	r.count(func(s *ReclaimStats) { s.Waiting = state == ReclaimWaits })
	if err == nil || r.job == nil {
		return state, err
	}
	if r.job.phase > phaseGate {
		return ReclaimIdle, l.fail(err) // the new file has its name: nothing to go back to
	}
	full := errors.Is(err, vfs.ErrNoSpace)
	if full {
		r.noSpace()
	}
	if err := r.abort(l); err != nil {
		return ReclaimIdle, err
	}
	if full {
		return ReclaimNoSpace, nil
	}
	return ReclaimIdle, err
}

// noSpace makes the next try come later and be smaller.
func (r *reclaimer) noSpace() {
	var bytes int64
	for _, f := range r.job.in {
		bytes += f.remaining()
	}
	r.budget = max(bytes/2, 1)
	r.backoff = min(max(2*r.backoff, 1), maxBackoff)
	r.skip = r.backoff
	r.count(func(s *ReclaimStats) { s.NoSpace++ })
}

func (r *reclaimer) count(fn func(*ReclaimStats)) {
	r.statsMu.Lock()
	defer r.statsMu.Unlock()
	fn(&r.stats)
}

// abort gives up the job, if its file is not switched in yet.
func (r *reclaimer) abort(l *Log) error {
	j := r.job
	if j == nil || j.phase > phaseGate {
		return nil
	}
	r.job = nil
	var errs []error
	if j.out != nil && j.out.mapping != nil {
		errs = append(errs, j.out.mapping.Unmap())
	}
	if j.fd != nil {
		errs = append(errs, j.fd.Close())
	}
	if j.temp != "" {
		errs = append(errs, l.fs.Remove(j.temp))
	}
	return errors.Join(errs...)
}

// AbortReclaim gives up a rewrite under way that has not been switched in yet, and the space that
// it takes. It is for an owner who finds the disk too full for the checkpoint that the rewrite
// waits for. Any goroutine.
func (l *Log) AbortReclaim() error {
	r := &l.reclaim
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.job == nil || r.job.phase > phaseGate {
		return nil
	}
	r.noSpace()
	return r.abort(l)
}

// removeLeftover tries again to remove superseded files.
func (r *reclaimer) removeLeftover(l *Log) error {
	for len(r.leftover) > 0 {
		err := l.fs.Remove(r.leftover[0])
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		r.leftover = r.leftover[1:]
	}
	return nil
}

// unmapRetired unmaps the files that nobody can be reading.
func (l *Log) unmapRetired() error {
	var errs []error
	for _, f := range l.takeUnpinned() {
		errs = append(errs, f.mapping.Unmap())
	}
	return errors.Join(errs...)
}

// takeUnpinned takes the retired files that no pin needs out of their slots.
func (l *Log) takeUnpinned() []*file {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.retired) == 0 {
		return nil
	}
	last := l.retired[len(l.retired)-1].epoch
	for l.pins.epoch.Load() < last+2 && l.pins.advance() {
	}
	epoch := l.pins.epoch.Load()
	n := 0
	for n < len(l.retired) && epoch >= l.retired[n].epoch+2 {
		n++
	}
	if n == 0 {
		return nil
	}
	v := l.view.Load()
	slots := slices.Clone(v.slots)
	var files []*file
	for _, r := range l.retired[:n] {
		slots[r.f.slot] = nil
		files = append(files, r.f)
	}
	l.retired = slices.Delete(l.retired, 0, n)
	l.view.Store(&view{slots: slots, files: v.files})
	return files
}

// retire takes the job's files out of service: their names go now, their mappings once no pin
// needs them. The index has no position in them any more.
func (l *Log) retire(group []*file) {
	l.mu.Lock()
	defer l.mu.Unlock()
	epoch := l.pins.epoch.Load()
	for _, f := range group {
		l.retired = append(l.retired, retired{f: f, epoch: epoch})
		l.reclaim.leftover = append(l.reclaim.leftover, f.path)
	}
}

// replace puts a file in the place of those that it covers. They keep their slots until retired.
func (l *Log) replace(group []*file, f *file) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.view.Load()
	at := slices.Index(v.files, group[0])
	if at < 0 || at+len(group) >= len(v.files) || v.files[at+len(group)-1] != group[len(group)-1] {
		return fmt.Errorf("revlog: %s does not stand where it was", group[0].path)
	}
	if err := l.place(f); err != nil {
		return err
	}
	files := slices.Replace(slices.Clone(v.files), at, at+len(group), f)
	l.setView(slices.Clone(v.slots), files, f)
	return nil
}

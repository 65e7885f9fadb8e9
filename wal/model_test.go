package wal

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairnkv/cairn/vfs"
)

const testDir = "/data/wal"

// plain is an entry without pointers.
type plain struct {
	index, term uint64
	typ         raftpb.EntryType
	data        string
}

func (p plain) entry() *raftpb.Entry {
	e := &raftpb.Entry{Index: &p.index, Term: &p.term, Type: &p.typ}
	if p.data != "" {
		e.Data = []byte(p.data)
	}
	return e
}

// step is one record as the model sees it: what a torn batch may end after.
type step struct {
	entry *plain
	hard  *hardState
	reset *[2]uint64
}

// model is the dumb log: everything in a map, nothing ever forgotten but by replacement.
type model struct {
	entries   map[uint64]plain
	terms     map[uint64]uint64 // also of bases
	last      uint64
	floor     uint64 // entries up to here are gone since a reset
	truncated uint64
	hard      hardState
}

func newModel() *model {
	return &model{entries: map[uint64]plain{}, terms: map[uint64]uint64{0: 0}}
}

func (m *model) clone() *model {
	c := *m
	c.entries, c.terms = map[uint64]plain{}, map[uint64]uint64{}
	for k, v := range m.entries {
		c.entries[k] = v
	}
	for k, v := range m.terms {
		c.terms[k] = v
	}
	return &c
}

func (m *model) apply(s step) {
	switch {
	case s.entry != nil:
		for i := s.entry.index; i <= m.last; i++ {
			delete(m.entries, i)
			delete(m.terms, i)
		}
		m.entries[s.entry.index] = *s.entry
		m.terms[s.entry.index] = s.entry.term
		m.last = s.entry.index
	case s.hard != nil:
		m.hard = *s.hard
	case s.reset != nil:
		m.entries = map[uint64]plain{}
		m.terms = map[uint64]uint64{s.reset[0]: s.reset[1]}
		m.last, m.floor = s.reset[0], s.reset[0]
		m.truncated = max(m.truncated, m.floor)
		m.hard.commit = max(m.hard.commit, m.last)
	}
}

// diff says how the log differs from the model; "" if in nothing. exact demands the model's first
// index; otherwise the log may begin earlier.
func (m *model) diff(w *WAL, exact bool) string {
	first, last := w.FirstIndex(), w.LastIndex()
	if last != m.last {
		return fmt.Sprintf("last index %d, want %d", last, m.last)
	}
	if first > m.truncated+1 || first < m.floor+1 || exact && first != m.truncated+1 {
		return fmt.Sprintf("first index %d, want %d (at least %d)", first, m.truncated+1, m.floor+1)
	}
	if h, _ := hardStateOf(w.HardState()); h != m.hard {
		return fmt.Sprintf("hard state %v, want %v", h, m.hard)
	}
	for i := first - 1; i <= last; i++ {
		if term, err := w.Term(i); err != nil || term != m.terms[i] {
			return fmt.Sprintf("term of %d is %d, %v, want %d", i, term, err, m.terms[i])
		}
	}
	for at := first; at <= last; {
		entries, err := w.Entries(at, last+1, 700)
		if err != nil || len(entries) == 0 {
			return fmt.Sprintf("entries from %d: %d, %v", at, len(entries), err)
		}
		for _, e := range entries {
			want := m.entries[at]
			got := plain{e.GetIndex(), e.GetTerm(), e.GetType(), string(e.GetData())}
			if got != want {
				return fmt.Sprintf("entry %d is %.40v, want %.40v", at, got, want)
			}
			at++
		}
	}
	return ""
}

// driver does random operations on a log and a model at once. durable is the model as it must
// survive any crash; steps are those since, of which any first few may survive.
type driver struct {
	t       testing.TB
	rng     *rand.Rand
	fs      vfs.FS
	dir     string
	w       *WAL
	now     *model
	durable *model
	steps   []step
	opts    Options
}

func newDriver(t testing.TB, rng *rand.Rand, fs vfs.FS, dir string) *driver {
	return &driver{
		t: t, rng: rng, fs: fs, dir: dir, now: newModel(), durable: newModel(),
		opts: testOptions(rng),
	}
}

func testOptions(rng *rand.Rand) Options {
	sizes := []int64{1 << 10, 2 << 10, 4 << 10, 16 << 10}
	return Options{
		SegmentBytes: sizes[rng.IntN(len(sizes))],
		CacheBytes:   rng.Int64N(4000) + 1,
		Metadata:     []byte("cluster 1, member 2"),
	}
}

func (d *driver) do(s step) {
	d.now.apply(s)
	d.steps = append(d.steps, s)
}

// settled notes that a sync returned.
func (d *driver) settled() {
	d.durable, d.steps = d.now.clone(), nil
}

// randomStep does one operation and returns its error. The model is ahead of the log while it
// runs, so that a crash in the middle is judged rightly.
func (d *driver) randomStep() error {
	switch n := d.rng.IntN(100); {
	case n < 45:
		return d.append()
	case n < 60:
		return d.w.Flush(false)
	case n < 75:
		return d.flush()
	case n < 85:
		return d.w.Prepare()
	case n < 90:
		return d.w.Mark()
	case n < 97:
		return d.truncate()
	case n < 98:
		return d.reset()
	default:
		return d.reopen()
	}
}

func (d *driver) flush() error {
	err := d.w.Flush(true)
	if err == nil {
		d.settled()
	}
	return err
}

func (d *driver) append() error {
	m := d.now
	index := m.last + 1
	if low := max(m.hard.commit, m.truncated); d.rng.IntN(6) == 0 && m.last > low {
		index = low + 1 + d.rng.Uint64N(m.last-low)
	}
	term := max(m.terms[index-1], 1)
	if index <= m.last || d.rng.IntN(10) == 0 {
		term = max(term, m.terms[m.last]) + d.rng.Uint64N(2)
	}
	var entries []*raftpb.Entry
	var steps []step
	for i := range d.rng.Uint64N(5) {
		size := d.rng.IntN(120)
		if d.rng.IntN(40) == 0 {
			size = d.rng.IntN(3000)
		}
		p := plain{
			index: index + i, term: term, typ: raftpb.EntryType(d.rng.IntN(3)),
			data: string(randomBytes(d.rng, size)),
		}
		entries = append(entries, p.entry())
		steps = append(steps, step{entry: &p})
	}
	after := m.clone()
	for _, s := range steps {
		after.apply(s)
	}
	var hs *raftpb.HardState
	if d.rng.IntN(2) == 0 {
		h := hardState{
			term: max(m.hard.term, after.terms[after.last]), vote: d.rng.Uint64N(4),
			commit: m.hard.commit + d.rng.Uint64N(after.last-m.hard.commit+1),
		}
		if h != (hardState{}) {
			hs = &raftpb.HardState{Term: &h.term, Vote: &h.vote, Commit: &h.commit}
			steps = append(steps, step{hard: &h})
		}
	}
	if err := d.w.Append(hs, entries); err != nil {
		return err
	}
	for _, s := range steps {
		d.do(s)
	}
	return nil
}

func randomBytes(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	if rng.IntN(4) == 0 {
		return b // zeros, as many values have
	}
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// truncate drops only what is durable and committed, as the contract demands.
func (d *driver) truncate() error {
	limit := min(d.durable.last, d.durable.hard.commit, d.now.last)
	if limit <= d.now.truncated {
		return nil
	}
	index := d.now.truncated + 1 + d.rng.Uint64N(limit-d.now.truncated)
	if err := d.w.Truncate(index); err != nil {
		return err
	}
	d.now.truncated, d.durable.truncated = index, index
	return nil
}

func (d *driver) reset() error {
	index := d.now.hard.commit + 1 + d.rng.Uint64N(20)
	term := d.now.terms[d.now.last] + 1
	d.do(step{reset: &[2]uint64{index, term}})
	err := d.w.Reset(index, term)
	if err == nil {
		d.settled()
	}
	return err
}

func (d *driver) reopen() error {
	if err := d.w.Close(); err != nil {
		return err
	}
	d.settled()
	return d.open()
}

func (d *driver) open() error {
	w, err := Open(d.fs, d.dir, d.opts)
	if err != nil {
		return err
	}
	d.w = w
	if diff := d.now.diff(w, false); diff != "" {
		d.t.Fatalf("after opening: %s", diff)
	}
	d.now.truncated = w.FirstIndex() - 1
	d.durable.truncated = d.now.truncated
	return nil
}

// survived finds the model of which the reopened log is the image, or says why there is none.
func survived(w *WAL, durable *model, steps []step) (*model, string) {
	m := durable.clone()
	reasons := []string{m.diff(w, false)}
	if reasons[0] == "" {
		return m, ""
	}
	for _, s := range steps {
		m.apply(s)
		diff := m.diff(w, false)
		if diff == "" {
			return m, ""
		}
		reasons = append(reasons, diff)
	}
	return nil, fmt.Sprintf("like none of %d logs; as the durable one, %s; as the last, %s",
		len(reasons), reasons[0], reasons[len(reasons)-1])
}

func TestRandomOperations(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		d := newDriver(t, rng, vfs.NewMem(), testDir)
		if err := d.open(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for i := range 300 {
			if err := d.randomStep(); err != nil {
				t.Fatalf("seed %d: step %d: %v", seed, i, err)
			}
			if diff := d.now.diff(d.w, true); diff != "" {
				t.Fatalf("seed %d: step %d: %s", seed, i, diff)
			}
			checkFiles(t, d)
		}
		if !bytes.Equal(d.w.Metadata(), d.opts.Metadata) {
			t.Fatalf("seed %d: metadata %q", seed, d.w.Metadata())
		}
		if _, err := d.w.Entries(1, math.MaxUint64, 1); err == nil {
			t.Fatal("entries past the end")
		}
	}
}

// checkFiles sees to it that the files of the log are those in use, the next and few spares.
func checkFiles(t *testing.T, d *driver) {
	t.Helper()
	names, err := d.fs.List(d.dir)
	if err != nil {
		t.Fatal(err)
	}
	if most := len(d.w.segs) + 1 + maxSpares; len(names) > most {
		t.Fatalf("%d files, at most %d: %v", len(names), most, names)
	}
}

// crash is a disk as a power failure left it, and what must be on it.
type crash struct {
	fs      *vfs.Mem
	durable *model
	steps   []step
	op      vfs.Op
}

// crashSeeds makes a long run: go test ./wal -run TestCrashes -seeds 10000
var crashSeeds = flag.Uint64("seeds", 60, "how many lives TestCrashes leads")

// TestCrashes stops the machine at random steps, looks at what is left, and goes on from there.
func TestCrashes(t *testing.T) {
	for seed := range *crashSeeds {
		rng := rand.New(rand.NewPCG(seed, 2))
		fs := vfs.NewMem()
		now := newModel()
		opts := testOptions(rng)
		for life := range 8 {
			at := crashLife(t, fmt.Sprintf("seed %d life %d", seed, life), rng, fs, now, opts)
			w, err := Open(at.fs, testDir, opts)
			if err != nil {
				t.Fatalf("seed %d life %d: after a crash at %v: %v", seed, life, at.op, err)
			}
			var diff string
			if now, diff = survived(w, at.durable, at.steps); diff != "" {
				t.Fatalf("seed %d life %d: after a crash at %v: %s", seed, life, at.op, diff)
			}
			// What was read back is durable now, even if that process ends at once.
			fs = at.fs.CrashClone(nil)
		}
	}
}

// crashLife runs a log from one crash to the next.
func crashLife(t *testing.T, name string, rng *rand.Rand, fs *vfs.Mem, now *model,
	opts Options,
) crash {
	d := &driver{
		t: t, rng: rng, fs: fs, dir: testDir, now: now, durable: now.clone(), opts: opts,
	}
	end := 1 + rng.IntN(400)
	var got *crash
	take := func(op vfs.Op) {
		disk := fs.CrashClone(rng)
		if rng.IntN(8) == 0 {
			disk = fs.KillClone()
		}
		got = &crash{disk, d.durable.clone(), append([]step(nil), d.steps...), op}
	}
	ops := 0
	fs.SetHook(func(op vfs.Op, after bool) {
		if ops++; ops == end {
			take(op)
		}
	})
	if err := d.open(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for i := 0; got == nil; i++ {
		if err := d.randomStep(); err != nil {
			t.Fatalf("%s: step %d: %v", name, i, err)
		}
	}
	fs.SetHook(nil)
	return *got
}

// TestCrashAtEveryStep looks at several outcomes of a crash before and after each operation.
func TestCrashAtEveryStep(t *testing.T) {
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 3))
		fs := vfs.NewMem()
		d := newDriver(t, rng, fs, testDir)
		dice := rand.New(rand.NewPCG(seed, 4))
		fs.SetHook(func(op vfs.Op, after bool) {
			for range 3 {
				disk := fs.CrashClone(dice)
				w, err := Open(disk, testDir, d.opts)
				if err != nil {
					t.Fatalf("seed %d: after a crash at %v: %v", seed, op, err)
				}
				if _, diff := survived(w, d.durable, d.steps); diff != "" {
					t.Fatalf("seed %d: after a crash at %v: %s", seed, op, diff)
				}
			}
		})
		if err := d.open(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for i := range 120 {
			if err := d.randomStep(); err != nil {
				t.Fatalf("seed %d: step %d: %v", seed, i, err)
			}
		}
	}
}

package revlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/vfs"
)

const testDir = "/data/revlog"

// rec is a record as the model keeps it.
type rec struct {
	rev  cairn.Revision
	tomb bool
	key  string
	kv   []byte
}

// version is a record that the index has.
type version struct {
	at  int // in owner.recs
	pos Pos
}

// checkpoint is what the owner made durable.
type checkpoint struct {
	mark       Mark
	records    int // how many records lie before the mark
	rev        int64
	compactRev int64
}

// owner does to a log what mvcc and the checkpointer do, in small, with one key map and no
// concurrency, and remembers everything that it ever appended.
type owner struct {
	fs   vfs.FS
	opts Options
	log  *Log
	rng  *rand.Rand
	// Half of the changes go to an eighth of the keys, so that some files die and others mostly
	// live.
	keys int

	recs  []rec
	rev   int64
	index map[string][]version

	done, target int64    // compaction
	todo         []string // keys that the compaction under way has not reached

	saved checkpoint
}

func newOwner(fs vfs.FS, opts Options, rng *rand.Rand) (*owner, error) {
	o := &owner{fs: fs, opts: opts, rng: rng, keys: 20 << (2 * rng.IntN(3))}
	return o, o.open()
}

// on is the same owner on another disk, not open yet.
func (o *owner) on(fs vfs.FS) *owner {
	return &owner{
		fs: fs, opts: o.opts, rng: o.rng, keys: o.keys, recs: o.recs, saved: o.saved,
	}
}

// open opens the log at the checkpoint and rebuilds the index by a scan.
func (o *owner) open() (err error) {
	o.log, err = Open(o.fs, testDir, o.opts, o.saved.mark)
	if err != nil {
		return err
	}
	n := o.saved.records
	o.recs = o.recs[:n:n] // others may share what is behind
	o.rev = o.saved.rev
	o.done, o.target, o.todo = o.saved.compactRev, o.saved.compactRev, nil
	o.index = map[string][]version{}
	err = o.log.Scan(cairn.Revision{}, 1<<62, func(pos Pos, r Record) (bool, error) {
		at, err := o.match(r)
		if err != nil {
			return false, err
		}
		key := o.recs[at].key
		o.index[key] = append(o.index[key], version{at, pos})
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(o.index)) {
		o.compactKey(key, o.done)
	}
	return o.check()
}

// match finds the model's record and compares.
func (o *owner) match(r Record) (int, error) {
	at, ok := slices.BinarySearchFunc(o.recs, r.Rev, func(m rec, rev cairn.Revision) int {
		if m.rev.Less(rev) {
			return -1
		} else if rev.Less(m.rev) {
			return 1
		}
		return 0
	})
	if !ok {
		return 0, fmt.Errorf("record %v was never appended", r.Rev)
	}
	if m := o.recs[at]; m.tomb != r.Tombstone || !bytes.Equal(m.kv, r.KV) {
		return 0, fmt.Errorf("record %v is not what was appended", r.Rev)
	}
	return at, nil
}

// want is the index as the definition has it: all records, then the compaction rule.
func (o *owner) want() map[string][]int {
	all := map[string][]int{}
	for i, r := range o.recs {
		all[r.key] = append(all[r.key], i)
	}
	for key, list := range all {
		newest := -1
		for i, at := range list {
			if o.recs[at].rev.Main <= o.done {
				newest = i
			}
		}
		if newest >= 0 && o.recs[list[newest]].tomb {
			newest++
		}
		if list = list[max(newest, 0):]; len(list) == 0 {
			delete(all, key)
		} else {
			all[key] = list
		}
	}
	return all
}

// check compares index and log with the model; only while no compaction is under way.
func (o *owner) check() error {
	if len(o.todo) > 0 {
		return nil
	}
	want := o.want()
	for key, list := range want {
		if len(o.index[key]) != len(list) {
			return fmt.Errorf("key %q has %d versions, want %d", key, len(o.index[key]), len(list))
		}
		for i, v := range o.index[key] {
			if v.at != list[i] {
				return fmt.Errorf("key %q: record %d, want %d", key, v.at, list[i])
			}
			if err := o.checkRead(v); err != nil {
				return err
			}
		}
	}
	for key := range o.index {
		if want[key] == nil {
			return fmt.Errorf("key %q has risen from the dead", key)
		}
	}
	return nil
}

func (o *owner) checkRead(v version) error {
	pin := o.log.Pin()
	defer pin.Release()
	r, err := o.log.Read(v.pos)
	if err != nil {
		return err
	}
	at, err := o.match(r)
	if err == nil && at != v.at {
		return fmt.Errorf("position of record %d leads to %d", v.at, at)
	}
	return err
}

// checkScan compares a scan with the model: all that the index has must come, all else must be
// true.
func (o *owner) checkScan(from cairn.Revision, to int64) error {
	got := map[int]bool{}
	last := -1
	err := o.log.Scan(from, to, func(pos Pos, r Record) (bool, error) {
		at, err := o.match(r)
		if err != nil {
			return false, err
		}
		if at <= last || r.Rev.Less(from) || r.Rev.Main > to {
			return false, fmt.Errorf("record %v in a scan from %v to %d", r.Rev, from, to)
		}
		last, got[at] = at, true
		if again, err := o.log.Read(pos); err != nil || again.Rev != r.Rev {
			return false, fmt.Errorf("scan's position of %v: %v %v", r.Rev, again.Rev, err)
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, list := range o.index {
		for _, v := range list {
			r := o.recs[v.at]
			if !r.rev.Less(from) && r.rev.Main <= to && !got[v.at] {
				return fmt.Errorf("record %v is missing in a scan from %v to %d", r.rev, from, to)
			}
		}
	}
	return nil
}

// txn appends records of one main revision.
func (o *owner) txn(recs ...rec) error {
	o.rev++
	for i, r := range recs {
		r.rev = cairn.Revision{Main: o.rev, Sub: int64(i)}
		pos, err := o.log.Append(r.rev, r.tomb, r.kv)
		if err != nil {
			return err
		}
		o.index[r.key] = append(o.index[r.key], version{len(o.recs), pos})
		o.recs = append(o.recs, r)
	}
	return nil
}

func put(key string, value []byte) rec {
	kv := binary.AppendUvarint(nil, uint64(len(key)))
	kv = append(kv, key...)
	return rec{key: key, kv: append(kv, value...)}
}

func del(key string) rec {
	r := put(key, nil)
	r.tomb = true
	return r
}

// exists says whether the newest version of a key is a put.
func (o *owner) exists(key string) bool {
	list := o.index[key]
	return len(list) > 0 && !o.recs[list[len(list)-1].at].tomb
}

func (o *owner) checkpoint() error {
	if err := o.log.Flush(); err != nil {
		return err
	}
	next := checkpoint{o.log.Mark(), len(o.recs), o.rev, o.target}
	if err := o.log.Sync(); err != nil {
		return err
	}
	o.saved = next
	return nil
}

// compact starts a compaction; compactStep works on it.
func (o *owner) compact(rev int64) {
	if rev <= o.target || len(o.todo) > 0 {
		return
	}
	o.target = rev
	o.todo = slices.Sorted(maps.Keys(o.index))
	o.rng.Shuffle(len(o.todo), func(i, j int) { o.todo[i], o.todo[j] = o.todo[j], o.todo[i] })
}

func (o *owner) compactStep(keys int) {
	n := min(keys, len(o.todo))
	for _, key := range o.todo[:n] {
		o.compactKey(key, o.target)
	}
	if o.todo = o.todo[n:]; len(o.todo) == 0 {
		o.done = o.target
	}
}

func (o *owner) compactKey(key string, rev int64) {
	list := o.index[key]
	newest := -1
	for i, v := range list {
		if o.recs[v.at].rev.Main <= rev {
			newest = i
		}
	}
	if newest < 0 {
		return
	}
	if o.recs[list[newest].at].tomb {
		newest++
	}
	for _, v := range list[:newest] {
		o.log.Dead(v.pos)
	}
	if list = list[newest:]; len(list) == 0 {
		delete(o.index, key)
	} else {
		o.index[key] = slices.Clone(list)
	}
}

// Compaction, Alive and Moved make owner an Index.
func (o *owner) Compaction() (done, target int64) { return o.done, o.target }

func (o *owner) Alive(batch []Candidate) {
	for i := range batch {
		batch[i].Alive = o.find(batch[i].Record) != nil
	}
}

func (o *owner) Moved(batch []Move) {
	for i, m := range batch {
		if v := o.find(m.Record); v != nil {
			if v.pos != m.Old {
				panic(fmt.Sprintf("record %v moved from %x, was at %x", m.Record.Rev, m.Old, v.pos))
			}
			v.pos = m.New
			batch[i].Moved = true
		}
	}
}

func (o *owner) find(r Record) *version {
	n, size := binary.Uvarint(r.KV)
	list := o.index[string(r.KV[size:size+int(n)])]
	for i := range list {
		if o.recs[list[i].at].rev == r.Rev {
			return &list[i]
		}
	}
	return nil
}

func (o *owner) reclaimStep() (ReclaimState, error) {
	cp := Checkpoint{Mark: o.saved.mark, CompactRev: o.saved.compactRev}
	return o.log.ReclaimStep(o, cp, 1<<10)
}

// reclaimAll runs until there is nothing to gain.
func (o *owner) reclaimAll() error {
	for range 1_000_000 {
		state, err := o.reclaimStep()
		if err != nil {
			return err
		}
		if state == ReclaimIdle {
			return nil
		}
		if state == ReclaimWaits {
			if err := o.checkpoint(); err != nil {
				return err
			}
		}
	}
	return errors.New("reclaim does not come to rest")
}

// randomStep does one random thing.
func (o *owner) randomStep() error {
	switch n := o.rng.IntN(100); {
	case n < 45:
		return o.randomTxn()
	case n < 60:
		return o.log.Flush()
	case n < 65:
		return o.checkpoint()
	case n < 68:
		if o.rev > 0 {
			o.compact(o.rev - o.rng.Int64N(min(o.rev, 200)))
		}
	case n < 75:
		o.compactStep(1 + o.rng.IntN(o.keys/2))
	case n < 77:
		return o.log.Prepare()
	case n < 78:
		return o.log.Sync()
	default:
		_, err := o.reclaimStep()
		return err
	}
	return nil
}

func (o *owner) randomTxn() error {
	var recs []rec
	used := map[string]bool{}
	for range 1 + o.rng.IntN(4) {
		key := fmt.Sprintf("key-%03d", o.rng.IntN(o.keys>>(3*o.rng.IntN(2))))
		if used[key] {
			continue
		}
		used[key] = true
		if o.exists(key) && o.rng.IntN(3) == 0 {
			recs = append(recs, del(key))
			continue
		}
		size := o.rng.IntN(300)
		if o.rng.IntN(100) == 0 {
			size = o.rng.IntN(3 * MinSegmentBytes)
		}
		recs = append(recs, put(key, randomBytes(o.rng, size)))
	}
	return o.txn(recs...)
}

func randomBytes(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// testSeed returns a generator and says how to get it again.
func testSeed(t *testing.T, seed uint64) *rand.Rand {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d (subtest %s)", seed, t.Name())
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}

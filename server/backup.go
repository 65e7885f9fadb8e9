package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/alarm"
	"github.com/cairnkv/cairn/backup"
	"github.com/cairnkv/cairn/mvcc"
	"github.com/cairnkv/cairn/node"
	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/state"
	"github.com/cairnkv/cairn/vfs"
)

const (
	// spareBytes is what a backup leaves free on the disk, a tenth of it where that is less: the
	// log and its checkpoints need room while the backup is there.
	spareBytes = 64 << 20

	// spacePeriod is after how many bytes of records the room is looked at again.
	spacePeriod = 1 << 20
)

// backups makes backup files in the data directory's tmp, to be sent to clients.
type backups struct {
	node  *node.Node
	fs    vfs.FS
	tmp   string // the directory
	live  func() int64
	count atomic.Uint64
}

// Make writes a backup of the state at the newest revision. Writes and reads go on meanwhile. It
// gives up with ResourceExhausted before it fills the disk.
func (b *backups) Make(ctx context.Context) (r io.ReadCloser, size int64, err error) {
	if err := b.room(b.live()); err != nil {
		return nil, 0, err
	}
	saved, view, err := b.capture(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer view.Close()
	name := filepath.Join(b.tmp, fmt.Sprintf("backup-%d.db", b.count.Add(1)))
	defer func() {
		if err != nil {
			err = errors.Join(err, b.fs.RemoveAll(name))
		}
	}()
	err = backup.Write(ctx, name, saved, func(fn func(revlog.Record) error) error {
		return view.Retained(ctx, saved.Rev, b.watched(fn))
	})
	if err != nil {
		return nil, 0, err
	}
	f, err := b.fs.Open(name)
	if err != nil {
		return nil, 0, err
	}
	if size, err = f.Size(); err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return &sentFile{io.NewSectionReader(f, 0, size), f, b.fs, name}, size, nil
}

// watched looks now and then at the room on the disk before it calls fn.
func (b *backups) watched(fn func(revlog.Record) error) func(revlog.Record) error {
	written := 0
	return func(r revlog.Record) error {
		if written += len(r.KV); written >= spacePeriod {
			written = 0
			if err := b.room(0); err != nil {
				return err
			}
		}
		return fn(r)
	}
}

// room is an error if the disk has no room for need bytes more besides the spare ones.
func (b *backups) room(need int64) error {
	free, total, err := b.fs.Space(b.tmp)
	if err != nil {
		return fmt.Errorf("look at the room for a backup in %s: %w", b.tmp, err)
	}
	spare := min(spareBytes, total/10)
	if free >= uint64(need)+spare {
		return nil
	}
	return &cairn.Error{Code: cairn.CodeResourceExhausted, Text: fmt.Sprintf(
		"etcdserver: no room for a backup: it is written to the member's disk first, where about "+
			"%d bytes are wanted and %d are free: make room, or ask another member",
		uint64(need)+spare, free)}
}

// capture takes the state and a view of the same revision and compaction, between two batches: a
// compaction that comes later must not show in the records. The caller closes the view.
func (b *backups) capture(ctx context.Context) (*backup.State, *mvcc.View, error) {
	var mu sync.Mutex // guards what follows: the applier may come when nobody waits any more
	var saved *backup.State
	var view *mvcc.View
	var gone bool
	err := b.node.Visit(ctx, func(m *state.Machine) {
		mu.Lock()
		defer mu.Unlock()
		if !gone {
			view = m.Store().View()
			saved = stateOf(m, view)
		}
	})
	mu.Lock()
	defer mu.Unlock()
	if err != nil {
		gone = true
		if view != nil {
			view.Close()
		}
		return nil, nil, err
	}
	return saved, view, nil
}

// stateOf copies what a backup holds of the machine besides the records. On the applier.
func stateOf(m *state.Machine, view *mvcc.View) *backup.State {
	return &backup.State{
		Index: m.Index(), Term: m.Term(), Conf: m.Conf(),
		Rev: view.Rev(), CompactRev: view.CompactRev(),
		Leases: m.Leases().All(), Alarms: m.Alarms().List(alarm.None),
		Members: m.Members().List(), Version: m.Members().Version(),
	}
}

// sentFile is a file that goes when it was read.
type sentFile struct {
	io.Reader
	file vfs.File
	fs   vfs.FS
	name string
}

// Close removes the file.
func (f *sentFile) Close() error {
	return errors.Join(f.file.Close(), f.fs.Remove(f.name))
}

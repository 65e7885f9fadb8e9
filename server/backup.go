package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/cairnkv/cairn/alarm"
	"github.com/cairnkv/cairn/backup"
	"github.com/cairnkv/cairn/mvcc"
	"github.com/cairnkv/cairn/node"
	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/state"
	"github.com/cairnkv/cairn/vfs"
)

// backups makes backup files in the data directory's tmp, to be sent to clients.
type backups struct {
	node  *node.Node
	fs    vfs.FS
	tmp   string // the directory
	count atomic.Uint64
}

// Make writes a backup of the state at the newest revision. Writes and reads go on meanwhile.
func (b *backups) Make(ctx context.Context) (r io.ReadCloser, size int64, err error) {
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
		return view.Retained(ctx, saved.Rev, fn)
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

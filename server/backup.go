package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
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
	store *mvcc.Store
	fs    vfs.FS
	tmp   string // the directory
	count atomic.Uint64
}

// Make writes a backup of the state at the newest revision. Writes and reads go on meanwhile.
func (b *backups) Make(ctx context.Context) (r io.ReadCloser, size int64, err error) {
	var saved *backup.State
	err = b.node.Visit(ctx, func(m *state.Machine) { saved = stateOf(m) })
	if err != nil {
		return nil, 0, err
	}
	name := filepath.Join(b.tmp, fmt.Sprintf("backup-%d.db", b.count.Add(1)))
	defer func() {
		if err != nil {
			err = errors.Join(err, b.fs.RemoveAll(name))
		}
	}()
	err = backup.Write(ctx, name, saved, func(fn func(revlog.Record) error) error {
		return b.store.Retained(ctx, saved.Rev, fn)
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

// stateOf copies what a backup holds of the machine besides the records. On the applier.
func stateOf(m *state.Machine) *backup.State {
	return &backup.State{
		Index: m.Index(), Term: m.Term(), Conf: m.Conf(),
		Rev: m.Store().Rev(), CompactRev: m.Store().CompactRev(),
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

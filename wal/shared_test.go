package wal

import (
	"errors"
	"sync"
	"testing"

	"github.com/cairnkv/cairn/vfs"
)

// errseq does with an error of writing back what Linux does: each open file is told once, at the
// next sync by whoever calls it (struct file, f_wb_err).
type errseq struct {
	vfs.FS
	mu       sync.Mutex
	errors   int
	watched  bool          // Prepare runs
	told     chan struct{} // Prepare was told
	released chan struct{} // it may come back from the system
}

type errseqFile struct {
	vfs.File
	fs   *errseq
	seen int
}

func (f *errseq) open(file vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return &errseqFile{file, f, f.errors}, nil
}

func (f *errseq) OpenReadWrite(name string) (vfs.File, error) {
	return f.open(f.FS.OpenReadWrite(name))
}

func (f *errseq) Create(name string) (vfs.File, error) { return f.open(f.FS.Create(name)) }

func (f *errseqFile) SyncData() error {
	f.fs.mu.Lock()
	failed, watched := f.seen < f.fs.errors, f.fs.watched
	f.seen = f.fs.errors
	f.fs.mu.Unlock()
	if !failed {
		return f.File.SyncData()
	}
	if watched {
		close(f.fs.told)
		<-f.fs.released
	}
	return errors.New("input/output error")
}

// TestErrorToldOnce: a batch that could not be written back is not acknowledged, though Prepare,
// which syncs the same file, is at work and slow to say what it was told.
func TestErrorToldOnce(t *testing.T) {
	fs := &errseq{FS: vfs.NewMem(), told: make(chan struct{}), released: make(chan struct{})}
	w, err := Open(fs, testDir, Options{})
	must(t, err)
	must(t, w.Append(hard(1, 1, 0), run(1, 3, 1, 100)))
	must(t, w.Flush(false))
	fs.mu.Lock()
	fs.errors, fs.watched = 1, true
	fs.mu.Unlock()
	done := make(chan error, 1)
	go func() { done <- w.Prepare() }()
	select {
	case <-fs.told:
	case err := <-done:
		done <- err
	}
	fs.mu.Lock()
	fs.watched = false
	fs.mu.Unlock()
	if err := w.Flush(true); err == nil {
		t.Error("a batch that could not be written back was acknowledged")
	}
	close(fs.released)
	<-done
}

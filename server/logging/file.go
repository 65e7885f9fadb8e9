package logging

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/server/config"
	"github.com/cairnkv/cairn/vfs"
)

// Limits of rotation.
const (
	megabyte         = 1 << 20
	defaultMaxSizeMB = 100
	rotatedLayout    = "2006-01-02T15-04-05.000" // as lumberjack names files
	compressedSuffix = ".gz"
	copyChunkBytes   = 256 << 10
	day              = 24 * time.Hour
)

// rotation is --log-rotation-config-json: lumberjack's keys.
type rotation struct {
	MaxSizeMB  int    `json:"maxsize"`
	MaxAgeDays int    `json:"maxage"`     // 0: no limit
	MaxBackups int    `json:"maxbackups"` // 0: no limit
	LocalTime  bool   `json:"localtime"`  // for names; else UTC
	Compress   bool   `json:"compress"`
	Filename   string `json:"filename"` // ignored: the output is the name
}

// parseRotation reads the configuration; the texts are etcd's.
func parseRotation(text string) (rotation, error) {
	var r rotation
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		var syntax *json.SyntaxError
		var kind *json.UnmarshalTypeError
		switch {
		case errors.As(err, &syntax), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
			return r, fmt.Errorf("improperly formatted log rotation config: %w", err)
		case errors.As(err, &kind):
			return r, fmt.Errorf("invalid log rotation config: %w", err)
		}
		return r, fmt.Errorf("fail to unmarshal log rotation config: %w", err)
	}
	if r.MaxSizeMB < 0 || r.MaxAgeDays < 0 || r.MaxBackups < 0 {
		return r, fmt.Errorf("invalid log rotation config: %s has a negative number", text)
	}
	if r.MaxSizeMB == 0 {
		r.MaxSizeMB = defaultMaxSizeMB
	}
	return r, nil
}

// file appends lines to a file and rotates it. Only output calls it, under its lock; what follows a
// rotation (removing and compressing old files) is done by a goroutine of its own.
type file struct {
	fs     vfs.FS
	clock  clock.Clock
	name   string
	f      vfs.File
	size   int64
	rotate *rotation // nil: never

	work chan struct{} // tells the goroutine that files were rotated; of capacity 1
	done chan struct{} // closed by the goroutine at its end
}

// openFile opens or makes the file of one output.
func openFile(name string, c config.Log, sys System) (*file, error) {
	f := &file{fs: sys.FS, clock: sys.Clock, name: name}
	if c.Rotate {
		r, err := parseRotation(c.RotationJSON)
		if err != nil {
			return nil, err
		}
		f.rotate = &r
	}
	if dir := filepath.Dir(name); dir != "." {
		if err := sys.FS.MkdirAll(dir); err != nil {
			return nil, err
		}
	}
	if err := f.open(); err != nil {
		return nil, err
	}
	if f.rotate != nil {
		f.work, f.done = make(chan struct{}, 1), make(chan struct{})
		go f.tidyLoop()
	}
	return f, nil
}

// open opens the file at its end.
func (f *file) open() error {
	opened, err := f.fs.OpenReadWrite(f.name)
	if errors.Is(err, iofs.ErrNotExist) {
		opened, err = f.fs.Create(f.name)
	}
	if err != nil {
		return err
	}
	size, err := opened.Size()
	if err != nil {
		return errors.Join(err, opened.Close())
	}
	f.f, f.size = opened, size
	return nil
}

// Write appends one line, after a rotation if the file would become too large.
func (f *file) Write(line []byte) (int, error) {
	if f.f == nil { // a rotation failed half way
		if err := f.open(); err != nil {
			return 0, err
		}
	}
	if f.rotate != nil && f.size > 0 &&
		f.size+int64(len(line)) > int64(f.rotate.MaxSizeMB)*megabyte {
		if err := f.rotateNow(); err != nil {
			return 0, err
		}
	}
	n, err := f.f.WriteAt(line, f.size)
	if err != nil {
		// No half line stays. If this fails too, the next line overwrites the half one.
		return n, errors.Join(err, f.f.Truncate(f.size))
	}
	f.size += int64(n)
	return n, nil
}

// rotateNow moves the file to a name with the time and begins a new one.
func (f *file) rotateNow() error {
	err := f.f.Close()
	f.f = nil
	if err != nil {
		return err
	}
	if err := f.fs.Rename(f.name, f.rotatedName(f.clock.Now())); err != nil {
		return err
	}
	if err := f.open(); err != nil {
		return err
	}
	select {
	case f.work <- struct{}{}:
	default: // the goroutine has not taken the last word yet; it will see this file too
	}
	return nil
}

// parts splits the name at the extension: the time goes between.
func (f *file) parts() (prefix, ext string) {
	ext = filepath.Ext(f.name)
	return strings.TrimSuffix(f.name, ext) + "-", ext
}

func (f *file) rotatedName(t time.Time) string {
	if !f.rotate.LocalTime {
		t = t.UTC()
	}
	prefix, ext := f.parts()
	return prefix + t.Format(rotatedLayout) + ext
}

// tidyLoop works after each rotation until close.
func (f *file) tidyLoop() {
	defer close(f.done)
	for range f.work {
		// Old files that cannot be removed stay until the next rotation tries again.
		_ = f.tidy(f.clock.Now())
	}
}

// old is a rotated file.
type old struct {
	name string
	at   time.Time
}

// rotated lists the rotated files, the newest first.
func (f *file) rotated() ([]old, error) {
	dir := filepath.Dir(f.name)
	names, err := f.fs.List(dir)
	if err != nil {
		return nil, err
	}
	prefix, ext := f.parts()
	prefix = filepath.Base(prefix)
	zone := time.UTC
	if f.rotate.LocalTime {
		zone = time.Local
	}
	var out []old
	for _, name := range names {
		stamp, ok := strings.CutPrefix(strings.TrimSuffix(name, compressedSuffix), prefix)
		if !ok {
			continue
		}
		stamp, ok = strings.CutSuffix(stamp, ext)
		if at, err := time.ParseInLocation(rotatedLayout, stamp, zone); ok && err == nil {
			out = append(out, old{filepath.Join(dir, name), at})
		}
	}
	slices.SortFunc(out, func(a, b old) int { return b.at.Compare(a.at) })
	return out, nil
}

// tidy removes rotated files beyond the number and the age, and compresses the rest.
func (f *file) tidy(now time.Time) error {
	files, err := f.rotated()
	if err != nil {
		return err
	}
	var all error
	for i, o := range files {
		tooMany := f.rotate.MaxBackups > 0 && i >= f.rotate.MaxBackups
		tooOld := f.rotate.MaxAgeDays > 0 && now.Sub(o.at) > time.Duration(f.rotate.MaxAgeDays)*day
		switch {
		case tooMany || tooOld:
			all = errors.Join(all, f.fs.Remove(o.name))
		case f.rotate.Compress && !strings.HasSuffix(o.name, compressedSuffix):
			all = errors.Join(all, f.compress(o.name))
		}
	}
	return all
}

// compress replaces a file by its gzip, in one rename.
func (f *file) compress(name string) (err error) {
	in, err := f.fs.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	size, err := in.Size()
	if err != nil {
		return err
	}
	temporary := name + compressedSuffix + ".tmp"
	out, err := f.fs.Create(temporary)
	if err != nil {
		return err
	}
	w := &appender{f: out}
	zip := gzip.NewWriter(w)
	_, err = io.CopyBuffer(zip, io.NewSectionReader(in, 0, size), make([]byte, copyChunkBytes))
	err = errors.Join(err, zip.Close(), out.Sync(), out.Close())
	if err != nil {
		return errors.Join(err, f.fs.Remove(temporary))
	}
	if err := f.fs.Rename(temporary, name+compressedSuffix); err != nil {
		return err
	}
	return f.fs.Remove(name)
}

// appender writes to a file from its beginning on, in chunks.
type appender struct {
	f   vfs.File
	off int64
}

func (a *appender) Write(b []byte) (int, error) {
	n, err := a.f.WriteAt(b, a.off)
	a.off += int64(n)
	return n, err
}

// close waits for the goroutine and closes the file.
func (f *file) close() error {
	if f.work != nil {
		close(f.work)
		<-f.done
	}
	if f.f == nil {
		return nil
	}
	return errors.Join(f.f.Sync(), f.f.Close())
}

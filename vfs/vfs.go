// Package vfs is the only door to files. The product opens no file but through an [FS], so that a
// test can put a disk in its place that forgets what was not synced, fails the Nth operation, or
// is full.
//
// The contract is that of a POSIX file system and no stronger:
//
//   - what [File.WriteAt] wrote is in the page cache; it survives the process, not the machine,
//     until [File.Sync] or [File.SyncData] returned nil;
//   - a name (created, renamed, removed) survives the machine once [FS.SyncDir] of its
//     directory returned nil;
//   - a sync that failed says nothing about earlier writes: the caller ends the process and never
//     retries (the kernel may have dropped the dirty pages).
//
// Three implementations share one conformance suite: [OS] (real files), [Mem] (memory, with crash
// clones) and [Faulty] (wraps another and fails chosen operations).
package vfs

import (
	"errors"
	"io"
	"io/fs"
)

// Errors of this package. They are wrapped with the operation and the path; test with errors.Is.
// fs.ErrNotExist and fs.ErrExist keep their usual meaning.
var (
	// ErrNoSpace says that the disk (or a quota on it) is full. Nothing, or a prefix, was written.
	ErrNoSpace = errors.New("no space left on device")
	// ErrLocked says that another process holds the lock.
	ErrLocked = errors.New("locked by another process")
)

// FS is a file system. Paths are OS paths; implementations are safe for concurrent use.
type FS interface {
	// Create makes name or truncates it to nothing, and opens it for reading and writing.
	Create(name string) (File, error)
	// Open opens an existing file for reading.
	Open(name string) (File, error)
	// OpenReadWrite opens an existing file for reading and writing.
	OpenReadWrite(name string) (File, error)
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// RemoveAll removes name and what is below it; that it does not exist is no error.
	RemoveAll(name string) error
	// Rename moves a file over any file at newName, atomically.
	Rename(oldName, newName string) error
	// MkdirAll makes a directory and its parents, mode 0700, and syncs the parents it made.
	MkdirAll(dir string) error
	// List returns the names in dir, sorted.
	List(dir string) ([]string, error)
	// Stat describes a file.
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes the names in dir durable.
	SyncDir(dir string) error
	// Lock takes an exclusive advisory lock on name (made if need be), held until Close or
	// the end of the process. It does not wait: ErrLocked.
	Lock(name string) (io.Closer, error)
	// Space tells the bytes free for this process on the disk that holds dir, and its size.
	Space(dir string) (free, total uint64, err error)
}

// File is an open file. ReadAt and WriteAt may run at once on ranges that do not overlap.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Name is the path the file was opened with.
	Name() string
	// Size is the file's length in bytes.
	Size() (int64, error)
	// Truncate sets the length; what is added reads as zeros and has no blocks on disk.
	Truncate(size int64) error
	// Allocate reserves blocks for [0, size) and grows the length to at least size, so that a
	// later WriteAt below size does not meet a full disk: ErrNoSpace comes here or not at all
	// (where the system has no such call, zeros are written).
	Allocate(size int64) error
	// Sync makes data and metadata durable (fsync).
	Sync() error
	// SyncData makes data and the length durable (fdatasync).
	SyncData() error
	// StartWriteback asks the kernel to begin writing [off, off+n) to disk, and does not wait.
	// A hint: it gives no durability; where the system has no such call it does nothing.
	StartWriteback(off, n int64) error
	// Map maps [0, size) for reading; size may not exceed the length. Bytes written through
	// the same File by WriteAt are visible in the mapping when WriteAt returns. The mapping
	// outlives Close of the file.
	Map(size int64) (Mapping, error)
}

// Mapping is a read-only view of a file in memory.
type Mapping interface {
	// Bytes is the view. Writing to it is a fault. It is valid until Unmap.
	Bytes() []byte
	// Release says that [off, off+n) will not be read again soon: the process's share of memory
	// for it is given back. A hint; what is read again comes from the page cache or the disk.
	Release(off, n int64)
	// Unmap ends the view; a second call does nothing.
	Unmap() error
}

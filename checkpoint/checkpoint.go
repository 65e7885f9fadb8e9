// Package checkpoint stores the newest checkpoint of the replicated state, as one file that is
// replaced atomically. What the checkpoint says is its writer's (package state): here it is bytes.
//
//	<dir>/<applied index, 16 hex digits>.ckpt
//
//	+-----------+---------+------------+---------+----------+
//	| "CAIRNCKP"| version | length     | payload | crc-32c  |
//	| 8 bytes   | 4 bytes | 8 bytes    |         | 4 bytes  |
//	+-----------+---------+------------+---------+----------+
//
// The checksum is over all before it. Integers are little-endian. A checkpoint is written to a file
// "*.tmp", synced, renamed, and the directory synced; then older ones are removed. A crash leaves
// at most an older checkpoint, still valid, or a temporary file, which is ignored. One that was
// whole and no longer checks is damage: it is refused, never skipped for an older one, for the
// files that the older one names may be gone.
package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	iofs "io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cairnkv/cairn/internal/remedy"
	"github.com/cairnkv/cairn/vfs"
)

const (
	magic       = "CAIRNCKP"
	version     = 1
	headerBytes = len(magic) + 4 + 8
	suffix      = ".ckpt"
	tmpSuffix   = ".tmp"
	// MaxBytes bounds a checkpoint: a longer one is refused before memory is taken for it.
	MaxBytes = 4 << 30
)

var table = crc32.MakeTable(crc32.Castagnoli)

// CorruptError says what is wrong with which file.
type CorruptError struct {
	File   string
	Offset int64
	Reason string
}

// Error names file, offset and cause.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("checkpoint %s is damaged at offset %d: %s; %s", e.File, e.Offset, e.Reason,
		remedy.Replace)
}

// ErrVersion says that a newer program wrote the checkpoint.
var ErrVersion = errors.New("the checkpoint was written by a newer version; start that version")

// Save writes the checkpoint of the given applied index and removes older ones. When it
// returns nil the checkpoint is durable. ErrNoSpace (vfs) leaves the older checkpoint in force.
func Save(fs vfs.FS, dir string, index uint64, payload []byte) error {
	if len(payload) > MaxBytes {
		return fmt.Errorf("checkpoint of %d bytes is over the limit of %d", len(payload), MaxBytes)
	}
	if err := fs.MkdirAll(dir); err != nil {
		return err
	}
	name := filepath.Join(dir, fmt.Sprintf("%016x%s", index, suffix))
	if err := write(fs, name+tmpSuffix, encode(payload)); err != nil {
		return errors.Join(fmt.Errorf("write checkpoint %s: %w", name, err),
			ignoreMissing(fs.Remove(name+tmpSuffix)))
	}
	if err := fs.Rename(name+tmpSuffix, name); err != nil {
		return fmt.Errorf("write checkpoint %s: %w", name, err)
	}
	if err := fs.SyncDir(dir); err != nil {
		return fmt.Errorf("write checkpoint %s: %w", name, err)
	}
	return removeOthers(fs, dir, index)
}

func ignoreMissing(err error) error {
	if errors.Is(err, iofs.ErrNotExist) {
		return nil
	}
	return err
}

func encode(payload []byte) []byte {
	b := make([]byte, 0, headerBytes+len(payload)+4)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(payload)))
	b = append(b, payload...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, table))
}

func write(fs vfs.FS, name string, b []byte) error {
	f, err := fs.Create(name)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Load returns the newest checkpoint, or ok == false when there is none. It changes nothing.
func Load(fs vfs.FS, dir string) (index uint64, payload []byte, ok bool, err error) {
	indexes, err := list(fs, dir)
	if err != nil || len(indexes) == 0 {
		return 0, nil, false, err
	}
	index = indexes[len(indexes)-1]
	payload, err = read(fs, filepath.Join(dir, fmt.Sprintf("%016x%s", index, suffix)))
	return index, payload, err == nil, err
}

func read(fs vfs.FS, name string) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size < int64(headerBytes)+4 || size > MaxBytes+int64(headerBytes)+4 {
		return nil, &CorruptError{name, 0, fmt.Sprintf("length %d is not possible", size)}
	}
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("read checkpoint %s: %w", name, err)
	}
	if string(b[:len(magic)]) != magic {
		return nil, &CorruptError{name, 0, "it does not begin as a checkpoint"}
	}
	sum := binary.LittleEndian.Uint32(b[size-4:])
	if got := crc32.Checksum(b[:size-4], table); got != sum {
		return nil, &CorruptError{name, size - 4, fmt.Sprintf("checksum %08x, want %08x", got, sum)}
	}
	if v := binary.LittleEndian.Uint32(b[len(magic):]); v != version {
		return nil, fmt.Errorf("%s: %w", name, ErrVersion)
	}
	if n := binary.LittleEndian.Uint64(b[len(magic)+4:]); n != uint64(size)-uint64(headerBytes)-4 {
		return nil, &CorruptError{name, int64(len(magic)) + 4, "the length does not match the file"}
	}
	return b[headerBytes : size-4], nil
}

// list returns the indexes of the checkpoints in dir, oldest first.
func list(fs vfs.FS, dir string) ([]uint64, error) {
	names, err := fs.List(dir)
	if errors.Is(err, iofs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var indexes []uint64
	for _, name := range names {
		digits, found := strings.CutSuffix(name, suffix)
		if !found || len(digits) != 16 {
			continue
		}
		if i, err := strconv.ParseUint(digits, 16, 64); err == nil {
			indexes = append(indexes, i) // List sorts, and the digits are of one length
		}
	}
	return indexes, nil
}

// removeOthers removes what a crash left and the checkpoints before index.
func removeOthers(fs vfs.FS, dir string, index uint64) error {
	names, err := fs.List(dir)
	if err != nil {
		return err
	}
	keep := fmt.Sprintf("%016x%s", index, suffix)
	for _, name := range names {
		old := strings.HasSuffix(name, suffix) && name < keep
		if old || strings.HasSuffix(name, tmpSuffix) {
			if err := fs.Remove(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

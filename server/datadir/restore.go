package datadir

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	iofs "io/fs"
	"path/filepath"
	"slices"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/backup"
	"github.com/cairnkv/cairn/member"
	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/state"
	"github.com/cairnkv/cairn/vfs"
	"github.com/cairnkv/cairn/wal"
)

// Identity is what a member's raft log is marked with: whose it is.
func Identity(img *state.Image) []byte {
	b := binary.LittleEndian.AppendUint64(nil, img.Members.ClusterID())
	return binary.LittleEndian.AppendUint64(b, img.Local)
}

// Begin makes the first checkpoint of an empty directory, with an empty raft log in walLog.
func (d *Dir) Begin(img *state.Image, walLog *wal.WAL) error {
	if img.Index > 0 { // else a joiner: its log begins at the beginning
		if err := walLog.Reset(img.Index, img.Term); err != nil {
			return err
		}
	}
	payload, err := img.Encode()
	if err != nil {
		return err
	}
	return d.Save(img.Index, payload)
}

// FirstMembers are the members of a cluster that begins: their ids follow from their peer URLs
// and the token, as etcd's. local is the one of the given name.
func FirstMembers(cluster map[string][]string, token, name string) (
	set *member.Set, local cairn.MemberID, err error,
) {
	var members []member.Member
	var ids []cairn.MemberID
	for peer, urls := range cluster {
		urls = slices.Sorted(slices.Values(urls))
		m := member.Member{ID: member.ID(urls, token), Name: peer, PeerURLs: urls}
		if slices.Contains(ids, m.ID) {
			return nil, 0, fmt.Errorf("members with the same peer URLs %v", urls)
		}
		if peer == name {
			local = m.ID
		}
		members, ids = append(members, m), append(ids, m.ID)
	}
	if local == 0 {
		return nil, 0, fmt.Errorf("the initial cluster does not name this member, %q", name)
	}
	return member.NewSet(member.ClusterID(ids), members), local, nil
}

// RestoreConfig says what a restored member is to be.
type RestoreConfig struct {
	DataDir, WALDir string // WALDir is "" for its place below DataDir
	Members         *member.Set
	Local           cairn.MemberID
	// RevisionBump moves the newest revision ahead, and all up to it counts as compacted.
	RevisionBump int64
}

// Restore makes the data directory of a member of a new cluster from a backup. The directory must
// be empty or missing. What a failed restore has made goes again; one that was killed leaves a
// directory that Open refuses with ErrPartial.
func Restore(ctx context.Context, fs vfs.FS, cfg RestoreConfig, src backup.Source) (err error) {
	if _, err := inspect(fs, cfg.DataDir); err != nil {
		return err
	}
	if err := checkEmpty(fs, "data-dir", cfg.DataDir); err != nil {
		return err
	}
	if cfg.WALDir != "" {
		if err := checkEmpty(fs, "wal-dir", cfg.WALDir); err != nil {
			return err
		}
	}
	saved, err := backup.Read(src)
	if err != nil {
		return err
	}
	d, err := makeDir(fs, cfg.DataDir, cfg.WALDir, true)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.undo())
		}
		err = errors.Join(err, d.Close())
	}()
	if err := d.restore(ctx, cfg, saved, src); err != nil {
		return err
	}
	return d.removeFiles(filepath.Join(d.Root, restoringFile))
}

func checkEmpty(fs vfs.FS, what, dir string) error {
	names, err := fs.List(dir)
	if err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return fmt.Errorf("%s %q not empty or could not be read: %w", what, dir, err)
	}
	if len(names) > 0 {
		return fmt.Errorf("%s %q not empty or could not be read", what, dir)
	}
	return nil
}

// undo removes what a failed restore has made, the mark of it last.
func (d *Dir) undo() error {
	for _, dir := range []string{d.wal, d.Revlog(), d.Checkpoint(), d.Tmp()} {
		if err := d.FS.RemoveAll(dir); err != nil {
			return err
		}
	}
	return d.removeFiles(filepath.Join(d.Root, formatFile),
		filepath.Join(d.Root, restoringFile), filepath.Join(d.Root, lockFile))
}

// removeFiles removes files of the data directory, one after the other for good.
func (d *Dir) removeFiles(names ...string) error {
	for _, name := range names {
		if err := d.FS.Remove(name); err != nil {
			return err
		}
		if err := d.FS.SyncDir(d.Root); err != nil {
			return err
		}
	}
	return nil
}

// restore fills the directory: the records, then the raft log, then the checkpoint.
func (d *Dir) restore(
	ctx context.Context, cfg RestoreConfig, saved *backup.State, src backup.Source,
) (err error) {
	img := state.NewImage(cfg.Local, cfg.Members)
	for _, l := range saved.Leases {
		if err := img.Leases.Grant(l.ID, l.TTL); err != nil {
			return fmt.Errorf("lease %x of the backup: %w", l.ID, err)
		}
		img.Leases.Checkpoint(l.ID, l.Remaining)
	}
	for _, a := range saved.Alarms {
		img.Alarms.Raise(a)
	}
	if img.Rev, img.Mark, err = d.writeRecords(ctx, src); err != nil {
		return err
	}
	img.CompactRev = saved.CompactRev
	img.Rev = max(img.Rev, img.CompactRev) // of the newest revisions no record may be left
	if cfg.RevisionBump > 0 {
		img.Rev += cfg.RevisionBump
		img.CompactRev = img.Rev
	}
	w, err := wal.Open(d.FS, d.WAL(), wal.Options{Metadata: Identity(img)})
	if err != nil {
		return err
	}
	return errors.Join(d.Begin(img, w), w.Close())
}

// flushBytes is how much of a restored record log is written at once.
const flushBytes = 1 << 20

// writeRecords fills the record log and makes it durable.
func (d *Dir) writeRecords(ctx context.Context, src backup.Source) (
	rev int64, mark revlog.Mark, err error,
) {
	log, err := revlog.Open(d.FS, d.Revlog(), revlog.Options{}, revlog.Mark{})
	if err != nil {
		return 0, mark, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	buffered := 0
	rev, err = backup.ReadRecords(src, func(r revlog.Record) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := log.Append(r.Rev, r.Tombstone, r.KV); err != nil {
			return err
		}
		if buffered += len(r.KV); buffered < flushBytes {
			return nil
		}
		buffered = 0
		return log.Flush()
	})
	if err == nil {
		err = log.Flush()
	}
	if err != nil {
		return 0, mark, err
	}
	mark = log.Mark()
	return rev, mark, log.Sync()
}

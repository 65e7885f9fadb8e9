package v3

import (
	"crypto/sha256"
	"fmt"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairnkv/cairn/internal/version"
	"github.com/cairnkv/cairn/rpc"
	"github.com/cairnkv/cairn/wire"
)

// snapshotChunkBytes is how much of a backup goes into one message.
const snapshotChunkBytes = 32 << 10

// serveSnapshot answers Maintenance.Snapshot: the backup in chunks, then one message with the 32
// bytes of its SHA-256.
func (d *Door) serveSnapshot(st *stream) (err error) {
	if err := st.RecvMsg(new(pb.SnapshotRequest)); err != nil {
		return err
	}
	r, size, err := d.backend.Snapshot(st.ctx)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := r.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("v3: close the backup: %w", cerr)
		}
	}()
	sum := sha256.New()
	buf := make([]byte, snapshotChunkBytes)
	for left := size; left > 0; {
		if st.ctx.Err() != nil {
			return contextError(st.ctx)
		}
		chunk := buf[:min(left, int64(len(buf)))]
		if n, err := io.ReadFull(r, chunk); err != nil {
			return fmt.Errorf("v3: the backup ends %d bytes early: %w", left-int64(n), err)
		}
		left -= int64(len(chunk))
		sum.Write(chunk)
		if err := st.SendMsg(snapshotMessage(uint64(left), chunk)); err != nil {
			return err
		}
	}
	return st.SendMsg(snapshotMessage(0, sum.Sum(nil)))
}

// snapshotMessage is an encoded SnapshotResponse; like etcd's it has no header.
func snapshotMessage(remaining uint64, blob []byte) rpc.Bytes {
	const ( // fields of SnapshotResponse
		remainingBytes = 2
		blobField      = 3
		versionField   = 4
	)
	msg := make(rpc.Bytes, 0, wire.SizeVarint(remainingBytes, remaining)+
		wire.SizeKV(blobField, len(blob))+wire.SizeKV(versionField, len(version.Storage)))
	msg = wire.AppendVarint(msg, remainingBytes, remaining)
	msg = wire.AppendBytes(msg, blobField, blob)
	return wire.AppendString(msg, versionField, version.Storage)
}

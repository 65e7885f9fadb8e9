package difftest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// snapshot saves a snapshot of both sides, lets real etcdutl read them back and compares what it
// says about the keys.
func (r *runner) snapshot(ctx context.Context, op Op) (string, error) {
	etcdutl, err := r.pair.Tools.Path(ctx, Etcdutl)
	if err != nil {
		return "", err
	}
	var reports [2]string
	err = both(func(i int) error {
		s := r.sides[i].Side(op.Member)
		path := filepath.Join(s.Server.Dir, "snapshot.db")
		if err := s.save(ctx, path); err != nil {
			return fmt.Errorf("side %s: %w", s.Name, err)
		}
		defer os.Remove(path)
		out, err := exec.CommandContext(ctx, etcdutl, "hashkv", path, "-w=json").Output()
		if err != nil {
			return fmt.Errorf("side %s: etcdutl hashkv: %w\n%s", s.Name, err, stderrOf(err))
		}
		if r.tainted {
			out = nil
		}
		reports[i] = string(bytes.TrimSpace(out))
		return nil
	})
	if err != nil {
		return err.Error(), nil
	}
	if reports[0] != reports[1] {
		return fmt.Sprintf("etcdutl hashkv of the snapshots differs\n  A: %s\n  B: %s", reports[0],
			reports[1]), nil
	}
	return "", nil
}

// save writes a snapshot to a file and checks its promises: the count of bytes to come, the
// storage version in each message and the SHA-256 of the rest at the end.
func (s *Side) save(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	cl, err := pb.NewMaintenanceClient(s.conn).Snapshot(ctx, &pb.SnapshotRequest{})
	if err != nil {
		return err
	}
	var data []byte
	left := uint64(0)
	for {
		m, err := cl.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if len(data) > 0 && left > 0 && m.RemainingBytes+uint64(len(m.Blob)) != left {
			return fmt.Errorf("%d bytes were left, then %d came and %d are left", left,
				len(m.Blob), m.RemainingBytes)
		}
		left = m.RemainingBytes
		data = append(data, m.Blob...)
	}
	split := len(data) - sha256.Size
	if split <= 0 || left != 0 {
		return fmt.Errorf("snapshot of %d bytes ends with %d to come", len(data), left)
	}
	if sum := sha256.Sum256(data[:split]); !bytes.Equal(sum[:], data[split:]) {
		return fmt.Errorf("snapshot of %d bytes ends with a wrong SHA-256", len(data))
	}
	return os.WriteFile(path, data, 0o600)
}

// stderrOf returns what a command that failed printed.
func stderrOf(err error) []byte {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.Stderr
	}
	return nil
}

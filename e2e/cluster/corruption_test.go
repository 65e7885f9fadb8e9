package cluster

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// backup saves the state of a cluster of one that has one key.
func backup(t *testing.T, value string) string {
	t.Helper()
	ctx := t.Context()
	m := newCluster(t, 1).Members()[0]
	if _, err := m.Client().Put(ctx, "key", value); err != nil {
		t.Fatal(err)
	}
	r, err := m.Client().Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "backup.db")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(f, r)
	if err := errors.Join(err, r.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return name
}

// restore makes a member's data directory of a backup, for the cluster that its flags name.
func restore(t *testing.T, c *Cluster, m *Member, backup string) {
	t.Helper()
	args := []string{"utl", "snapshot", "restore", backup}
	for _, a := range m.Args() {
		for _, flag := range []string{"--name=", "--data-dir=", "--initial-cluster=",
			"--initial-cluster-token=", "--initial-advertise-peer-urls="} {
			if strings.HasPrefix(a, flag) {
				args = append(args, a)
			}
		}
	}
	if out, err := exec.Command(c.program, args...).CombinedOutput(); err != nil {
		t.Fatalf("restore %s: %v\n%s", m.Name, err, out)
	}
}

// TestCorruption starts a cluster of which one member's data differs at the same revision: the
// others find out, accuse it, and refuse writes.
func TestCorruption(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	right, wrong := backup(t, "right"), backup(t, "wrong")
	c := emptyCluster(t, "--corrupt-check-time=200ms")
	for range 3 {
		if _, err := c.add(); err != nil {
			t.Fatal(err)
		}
	}
	all := c.Members()
	for i, m := range all {
		c.configure(m, "new", all)
		restore(t, c, m, []string{right, wrong, right}[i])
		if err := m.Launch(); err != nil {
			t.Fatal(err)
		}
	}
	if err := Await(ctx, all...); err != nil {
		t.Fatal(err)
	}
	bad := status(ctx, t, all[1]).Header.MemberId
	err := Retry(ctx, healthyTimeout, func(ctx context.Context) error {
		alarms, err := all[0].Client().AlarmList(ctx)
		if err != nil {
			return err
		}
		for _, a := range alarms.Alarms {
			if a.Alarm == etcdserverpb.AlarmType_CORRUPT && a.MemberID == bad {
				return nil
			}
		}
		return errors.New("the alarm is not raised")
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = all[0].Client().Put(ctx, "key", "more")
	if !errors.Is(err, rpctypes.ErrCorrupt) {
		t.Errorf("a write to a corrupt cluster: %v", err)
	}
}

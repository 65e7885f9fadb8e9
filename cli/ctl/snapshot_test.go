package ctl

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/cairnkv/cairn/vfs"
)

// snapshotCalls answer a request for a snapshot with data, in chunks of n bytes.
func snapshotCalls(data []byte, n int, end string) []*call {
	c := &call{method: "/etcdserverpb.Maintenance/Snapshot", end: end}
	c.messages = append(c.messages, message{true, `{}`})
	for len(data) > 0 {
		chunk := data[:min(n, len(data))]
		data = data[len(chunk):]
		c.messages = append(c.messages, message{false, fmt.Sprintf(
			`{"blob":%q,"remainingBytes":"%d","version":"3.7.3"}`,
			base64.StdEncoding.EncodeToString(chunk), len(data))})
	}
	return []*call{c}
}

// database is what a snapshot would hold, without and with its hash.
func database(size int) (db, snapshot []byte) {
	db = bytes.Repeat([]byte("0123456789abcdef"), size/16)
	sum := sha256.Sum256(db)
	return db, append(bytes.Clone(db), sum[:]...)
}

func TestSnapshotSave(t *testing.T) {
	for _, chunk := range []int{1, 7, 31, 32, 33, 512, 5000} {
		_, want := database(1024)
		srv := startReplay(t, snapshotCalls(want, chunk, "OK"), &vars{})
		mem := vfs.NewMem()
		a, stdout, stderr := testApp(srv, "", "snapshot", "save", "/backup.db")
		a.cfg.FS = mem
		exit := a.run(context.Background())
		if exit != 0 || stdout.String() != "Snapshot saved at /backup.db\nServer version 3.7.3\n" {
			t.Errorf("chunks of %d: exit %d, stdout %q, stderr %s", chunk, exit, stdout, stderr)
		}
		if got := contents(t, mem, "/backup.db"); !bytes.Equal(got, want) {
			t.Errorf("chunks of %d: saved %d bytes that differ", chunk, len(got))
		}
		if _, err := mem.Stat("/backup.db.part"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("chunks of %d: the part stayed: %v", chunk, err)
		}
		srv.stop()
	}
}

func TestSnapshotSaveRefusesDamage(t *testing.T) {
	db, whole := database(1024)
	flipped := bytes.Clone(whole)
	flipped[100] ^= 1
	for _, tc := range []struct {
		name string
		data []byte
		end  string
		text string
	}{
		{"no hash", db, "OK", "sha256 checksum not found [bytes: 1024]"},
		{"cut", whole[:1000], "OK", "sha256 checksum not found [bytes: 1000]"},
		{"a sector missing", whole[512:], "OK", "damaged on its way"},
		{"a bit flipped", flipped, "OK", "damaged on its way"},
		{"empty", nil, "OK", "the server sent no snapshot"},
		{"the server fails", whole[:600], "2 disk on fire", "disk on fire"},
	} {
		srv := startReplay(t, snapshotCalls(tc.data, 100, tc.end), &vars{})
		mem := vfs.NewMem()
		a, stdout, stderr := testApp(srv, "", "snapshot", "save", "/backup.db")
		a.cfg.FS = mem
		exit := a.run(context.Background())
		if exit != 5 || stdout.Len() > 0 || !strings.Contains(stderr.String(), tc.text) {
			t.Errorf("%s: exit %d, stdout %q, stderr %s", tc.name, exit, stdout, stderr)
		}
		for _, name := range []string{"/backup.db", "/backup.db.part"} {
			if _, err := mem.Stat(name); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %s is there: %v", tc.name, name, err)
			}
		}
		srv.stop()
	}
}

// TestSnapshotSaveKeepsTheOld: a failure leaves a snapshot of the same name as it was.
func TestSnapshotSaveKeepsTheOld(t *testing.T) {
	mem := vfs.NewMem()
	f, err := mem.Create("/backup.db")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("old"), 0); err != nil {
		t.Fatal(err)
	}
	f.Close()
	db, _ := database(512)
	srv := startReplay(t, snapshotCalls(db, 100, "OK"), &vars{})
	defer srv.stop()
	a, _, _ := testApp(srv, "", "snapshot", "save", "/backup.db")
	a.cfg.FS = mem
	if exit := a.run(context.Background()); exit != 5 {
		t.Errorf("exit %d", exit)
	}
	if got := contents(t, mem, "/backup.db"); string(got) != "old" {
		t.Errorf("the old snapshot is %q now", got)
	}
}

// contents reads a file.
func contents(t *testing.T, fsys vfs.FS, name string) []byte {
	t.Helper()
	f, err := fsys.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil && size > 0 {
		t.Fatal(err)
	}
	return b
}

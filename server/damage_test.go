package server

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

var damageSeed = flag.Uint64("damage.seed", 1, "where the bits are flipped")

// files lists the files below dir.
func files(t *testing.T, fs vfs.FS, dir string) []string {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, name := range names {
		path := filepath.Join(dir, name)
		info, err := fs.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.IsDir() {
			all = append(all, files(t, fs, path)...)
		} else {
			all = append(all, path)
		}
	}
	return all
}

// A bit that flips in a file at rest is found by the start, which names the file and the offset, or
// it lies where nothing is stored: then all is as it was.
func TestFlippedBit(t *testing.T) {
	rng := rand.New(rand.NewPCG(*damageSeed, 4))
	fs := vfs.NewMem()
	r := mustStart(t, smallSystem(fs), crashArgs...)
	l := newLoad(r)
	history := r.record(t)
	if err := l.run(4, 150, *damageSeed); err != nil {
		t.Fatal(err)
	}
	events, known := history(), l.known()
	r.stop(t)
	found := map[string]int{}
	const rounds = 150
	for range rounds {
		disk := fs.KillClone()
		all := files(t, disk, "data")
		name := all[rng.IntN(len(all))]
		info, err := disk.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() == 0 {
			continue
		}
		off, bit := rng.Int64N(info.Size()), uint(rng.IntN(8))
		if err := vfs.Flip(disk, name, off, bit); err != nil {
			t.Fatal(err)
		}
		kind := filepath.Ext(name)
		again, err := startRig(smallSystem(disk), crashArgs...)
		if err != nil {
			text := err.Error()
			if !strings.Contains(text, name) ||
				!strings.Contains(text, "offset") && filepath.Base(name) != "FORMAT" {
				t.Errorf("bit %d of byte %d of %s: %v", bit, off, name, err)
			}
			found[kind]++
			continue
		}
		if rev := again.check(t, known, events); rev != known.rev {
			t.Errorf("bit %d of byte %d of %s: started at revision %d of %d", bit, off, name,
				rev, known.rev)
		}
		again.stop(t)
		if t.Failed() {
			t.Fatalf("bit %d of byte %d of %s", bit, off, name)
		}
	}
	for _, kind := range []string{".ckpt", ".wal", ".seg"} {
		if found[kind] == 0 {
			t.Errorf("no damage was found in files %s: %v", kind, found)
		}
	}
}

// lockedBuffer is a log that many write to.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// readersOf17 are all that read the record of k017.
func (r *rig) readersOf17() map[string]func() error {
	return map[string]func() error{
		"get":   func() error { _, err := r.get("k017", "", 0); return err },
		"range": func() error { _, err := r.get(everything, everything, 0); return err },
		"hash": func() error {
			_, err := r.back.HashKV(context.Background(), 0)
			return err
		},
		"backup": func() error {
			in, _, err := r.back.Snapshot(context.Background())
			if err == nil {
				err = errors.Join(errors.New("it was made"), in.Close())
			}
			return err
		},
		"stream": func() error {
			return r.back.StreamRange(context.Background(),
				&cairn.RangeRequest{Key: []byte("k"), End: []byte("l")},
				func([]byte) error { return nil })
		},
		"read txn": func() error {
			_, err := r.back.AppendReadTxn(context.Background(), nil, &cairn.TxnRequest{
				Success: []cairn.Op{{Kind: cairn.OpRange,
					Range: &cairn.RangeRequest{Key: []byte("k017")}}},
			})
			return err
		},
	}
}

// A record that is damaged while the member runs: whoever reads it is told DataLoss and the log
// says where; everything else is served, writes to the key too.
func TestDamageWhileRunning(t *testing.T) {
	fs := vfs.NewMem()
	var logged lockedBuffer
	sys := smallSystem(fs)
	sys.tmp = t.TempDir()
	r, err := startLogged(sys, slog.New(slog.NewTextHandler(&logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	value := strings.Repeat("v", 200)
	for i := range 200 {
		if _, err := r.put(fmt.Sprintf("k%03d", i), fmt.Sprint(i)+value, 0); err != nil {
			t.Fatal(err)
		}
	}
	name := flipValue(t, fs, "17"+value)
	for what, read := range r.readersOf17() {
		if err := read(); !errors.Is(err, cairn.ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if text := logged.String(); !strings.Contains(text, name) || !strings.Contains(text, "offset") {
		t.Errorf("the log does not name %s: %s", name, text)
	}
	w := r.watch(2)
	if err := w.until(201); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a watch over the damage ended with %v", err)
	}
	w.stream.Close()
	if got, err := r.get("k018", "", 0); err != nil || len(got.Kvs) != 1 {
		t.Errorf("a whole record: %v, %v", got, err)
	}
	// The answer needs the record, the put does not.
	err = r.do(command.Put, &pb.PutRequest{Key: []byte("k017"), Value: []byte("n"), PrevKv: true},
		&pb.PutResponse{})
	if !errors.Is(err, cairn.ErrDamaged) {
		t.Errorf("put with prev_kv: %v", err)
	}
	got, err := r.get("k017", "", 0)
	if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "n" {
		t.Errorf("after a put: %v, %v", got, err)
	}
	if err := r.failing(); err != nil {
		t.Error(err)
	}
	r.stop(t)
}

// flipValue flips a bit in the one record whose value (of 202 bytes) begins with text, and
// returns the file.
func flipValue(t *testing.T, fs vfs.FS, text string) string {
	t.Helper()
	for _, name := range files(t, fs, "data/revlog") {
		f, err := fs.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		size, _ := f.Size()
		b := make([]byte, size)
		_, err = f.ReadAt(b, 0)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.Index(b, []byte("*\xca\x01"+text)); i >= 0 {
			if err := vfs.Flip(fs, name, int64(i)+50, 3); err != nil {
				t.Fatal(err)
			}
			return name
		}
	}
	t.Fatal("the record is nowhere")
	return ""
}

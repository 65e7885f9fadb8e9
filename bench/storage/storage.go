// Package storage measures Cairn's store by itself: package mvcc in this process, on real files,
// without raft, log and network. It is what etcd's benchmark calls "mvcc".
package storage

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/cairnkv/cairn/bench"
	"github.com/cairnkv/cairn/mvcc"
	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/vfs"
)

// Put says what is put. The zero value of a field is its default.
type Put struct {
	// Dir is where a directory for the store is made, and removed afterwards; "": where temporary
	// files go.
	Dir string

	Total     int // transactions; default: 100,000
	Ops       int // puts of a transaction; default: 1
	Batch     int // transactions that are published together; default: 256
	KeySize   int // bytes; default: 64
	ValueSize int // bytes
	KeySpace  int // how many keys there are, taken by chance; 0: each put has a new one
	Seed      uint64
}

const (
	defaultTotal   = 100_000
	defaultBatch   = 256
	defaultKeySize = 64
	minKeySize     = 16      // digits of 64 bits
	maxSize        = 1 << 20 // of keys and values

	// prepareEvery is after how many transactions space on disk is made ready, as the server does
	// from time to time.
	prepareEvery = 64 << 10
)

func (p *Put) complete() error {
	for _, v := range []int{p.Total, p.Ops, p.Batch, p.KeySize, p.ValueSize, p.KeySpace} {
		if v < 0 {
			return errors.New("storage: numbers must not be negative")
		}
	}
	set := func(v *int, otherwise int) {
		if *v == 0 {
			*v = otherwise
		}
	}
	set(&p.Total, defaultTotal)
	set(&p.Ops, 1)
	set(&p.Batch, defaultBatch)
	set(&p.KeySize, defaultKeySize)
	if p.KeySize < minKeySize {
		return fmt.Errorf("storage: keys have at least %d bytes", minKeySize)
	}
	if p.KeySize > maxSize || p.ValueSize > maxSize {
		return fmt.Errorf("storage: keys and values have at most %d bytes", maxSize)
	}
	if p.Seed == 0 {
		p.Seed = rand.Uint64()
	}
	return nil
}

// Run puts and measures. The series are "put", a transaction from its beginning to its end, and
// "publish", the write of a batch to the record log.
func Run(ctx context.Context, p Put) (result *bench.Result, err error) {
	if err := p.complete(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(p.Dir, "cairn-bench")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	log, err := revlog.Open(vfs.OS(), filepath.Join(dir, "revlog"), revlog.Options{}, revlog.Mark{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	store, err := mvcc.Open(log, mvcc.FirstRev, mvcc.NeverCompacted)
	if err != nil {
		return nil, err
	}
	r := &runner{Put: p, store: store, log: log, rng: rand.New(rand.NewPCG(p.Seed, 0)),
		value: make([]byte, p.ValueSize)}
	for i := range r.value {
		r.value[i] = byte('a' + i%26)
	}
	cpu := bench.OwnCPU()
	began := time.Now()
	if err := r.run(ctx); err != nil {
		return nil, err
	}
	took := time.Since(began)
	return &bench.Result{
		Verb: "mvcc put", Conns: 0, Clients: 1, Seed: p.Seed, Seconds: took.Seconds(),
		Generator: (bench.OwnCPU() - cpu).Seconds(),
		Series: []bench.Series{
			{Name: "put", Seconds: took.Seconds(), Latency: &r.puts},
			{Name: "publish", Seconds: took.Seconds(), Latency: &r.publishes},
		},
	}, nil
}

// runner is one run.
type runner struct {
	Put
	store           *mvcc.Store
	log             *revlog.Log
	rng             *rand.Rand
	key, value      []byte
	next            uint64 // key
	puts, publishes bench.Histogram
}

func (r *runner) run(ctx context.Context) error {
	for i := range r.Total {
		begin := time.Now()
		tx := r.store.Begin()
		for range r.Ops {
			if _, _, err := tx.Put(r.pick(), r.value, 0); err != nil {
				return err
			}
		}
		tx.End()
		end := time.Now()
		r.puts.Record(end.Sub(begin))
		if (i+1)%r.Batch != 0 && i != r.Total-1 {
			continue
		}
		if _, _, err := r.store.Publish(); err != nil {
			return err
		}
		r.publishes.Record(time.Since(end))
		if err := ctx.Err(); err != nil {
			return err
		}
		if i%prepareEvery < r.Batch {
			if err := r.log.Prepare(); err != nil {
				return err
			}
		}
	}
	return nil
}

// pick makes the next key.
func (r *runner) pick() []byte {
	n := r.next
	r.next++
	if r.KeySpace > 0 {
		n = r.rng.Uint64N(uint64(r.KeySpace))
	} else {
		n *= 0x9e3779b97f4a7c15 // each once, in no order
	}
	r.key = fmt.Appendf(r.key[:0], "%0*x", r.KeySize, n)
	return r.key
}

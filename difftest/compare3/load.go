package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

const (
	keyBytes   = 32
	valueBytes = 256
	keySpace   = 100_000

	// warmup is for how long a cell runs before it is measured.
	warmup = 500 * time.Millisecond

	// dialTimeout bounds connecting, requestTimeout one request.
	dialTimeout    = 5 * time.Second
	requestTimeout = 10 * time.Second
)

// cell is one kind of load.
type cell struct {
	name        string
	reads       float64 // share of requests that are linearizable gets
	outstanding int     // requests at once
}

// cells are what is measured, in this order: gets find what puts have left.
var cells = []cell{
	{"put, 1 outstanding", 0, 1},
	{"put, 64", 0, 64},
	{"put, 1000", 0, 1000},
	{"get, 64", 1, 64},
	{"get, 1000", 1, 1000},
	{"half and half, 1000", 0.5, 1000},
}

// connect returns a client for each member.
func connect(endpoints []string) ([]*clientv3.Client, error) {
	var clients []*clientv3.Client
	for _, e := range endpoints {
		c, err := clientv3.New(clientv3.Config{
			Endpoints: []string{e}, DialTimeout: dialTimeout, Logger: zap.NewNop(),
		})
		if err != nil {
			return nil, fmt.Errorf("connect to %s: %w", e, err)
		}
		clients = append(clients, c)
	}
	return clients, nil
}

// window says which requests count: those that begin and end in it.
type window struct{ from, to time.Time }

// load runs a cell until the window ends and returns how long each request took.
func load(ctx context.Context, c cell, clients []*clientv3.Client, w window) (
	took []time.Duration, err error,
) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex // guards took and err
	var wg sync.WaitGroup
	value := make([]byte, valueBytes)
	for i := range value {
		value[i] = byte('a' + i%26)
	}
	for i := range c.outstanding {
		wg.Go(func() {
			own, werr := work(ctx, c, clients, i, string(value), w)
			mu.Lock()
			defer mu.Unlock()
			took = append(took, own...)
			if werr != nil && err == nil {
				err = werr
				cancel()
			}
		})
	}
	wg.Wait()
	return took, err
}

// work sends one request after the other, to the members in turn.
func work(ctx context.Context, c cell, clients []*clientv3.Client, n int, value string,
	w window) ([]time.Duration, error) {
	var took []time.Duration
	rng := rand.New(rand.NewPCG(uint64(n), uint64(w.from.UnixNano())))
	for ; ; n++ {
		begin := time.Now()
		if begin.After(w.to) {
			return took, nil
		}
		key := fmt.Sprintf("%0*d", keyBytes, rng.IntN(keySpace))
		client := clients[n%len(clients)]
		if err := request(ctx, client, key, value, rng.Float64() < c.reads); err != nil {
			return took, fmt.Errorf("%s: %w", c.name, err)
		}
		if end := time.Now(); begin.After(w.from) && !end.After(w.to) {
			took = append(took, end.Sub(begin))
		}
	}
}

// request sends one request.
func request(ctx context.Context, c *clientv3.Client, key, value string, read bool) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var err error
	if read {
		_, err = c.Get(ctx, key)
	} else {
		_, err = c.Put(ctx, key, value)
	}
	return err
}

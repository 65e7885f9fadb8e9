package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"
)

// probe is one client that puts one key after the other, like a user who knows nothing of the
// load, and measures each put.
type probe struct {
	mu      sync.Mutex // guards the fields below
	phase   string     // in which the longest put was
	now     string     // the phase that runs
	longest time.Duration
	all     []time.Duration
}

// enter names what the server has to do from now on.
func (p *probe) enter(phase string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = phase
}

// add takes the duration of one put.
func (p *probe) add(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, d)
	if d > p.longest {
		p.longest, p.phase = d, p.now
	}
}

// count returns how many puts there were.
func (p *probe) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.all)
}

// percentile returns the duration that n percent of the puts stayed below.
func (p *probe) percentile(n int) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(p.all))
	return sorted[min(len(sorted)-1, len(sorted)*n/100)]
}

// startProbe starts the probe and returns how to stop it.
func (b *bench) startProbe(ctx context.Context) (stop func(), err error) {
	c, err := b.server.Client()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	value := make([]byte, b.value)
	go func() {
		defer close(done)
		pause := time.NewTicker(probePause)
		defer pause.Stop()
		for n := 0; ctx.Err() == nil; n++ {
			begin := time.Now()
			_, err := c.Put(ctx, fmt.Sprintf("/probe/%d", n%100), string(value))
			if err != nil && ctx.Err() == nil {
				fmt.Fprintln(os.Stderr, "bigdata: probe:", err)
			}
			if ctx.Err() == nil {
				b.probe.add(time.Since(begin))
			}
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
		}
	}()
	return func() {
		cancel()
		<-done
		_ = c.Close() // the probe is through
	}, nil
}

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
	mu     sync.Mutex // guards the fields below
	phases []*phase   // in order; the last one runs
}

// phase is a time in which the server has one kind of work.
type phase struct {
	name string
	puts []time.Duration // of the probe
}

// enter names what the server has to do from now on.
func (p *probe) enter(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.phases = append(p.phases, &phase{name: name})
}

// add takes the duration of one put.
func (p *probe) add(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.phases[len(p.phases)-1]
	now.puts = append(now.puts, d)
}

// report prints for each phase how long the puts of the probe took.
func (p *probe) report(say func(string, ...any)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, ph := range p.phases {
		if len(ph.puts) == 0 {
			continue
		}
		slices.Sort(ph.puts)
		at := func(percent int) time.Duration {
			return ph.puts[(len(ph.puts)-1)*percent/100].Round(time.Microsecond)
		}
		say("puts of one client during the %s: longest %v, 99%% within %v, half within %v, "+
			"%d in all", ph.name, at(100), at(99), at(50), len(ph.puts))
	}
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

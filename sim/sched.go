package sim

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/cairnkv/cairn/task"
)

// maxPasses bounds how often the tasks of a host are run without time going on: more is a task that
// never waits.
const maxPasses = 100_000

// host is a place where tasks run: the process of a member, or all clients. Its tasks share a
// thread and an end (task.Scheduler).
type host struct {
	name string
	rng  *rand.Rand
	// failed is told of a panic, which no process survives.
	failed func(err error)

	tasks    []*coroutine
	current  *coroutine
	progress bool // some task has found what it waited for, or was made
	dead     bool
	running  bool
}

// coroutine is a task with a stack of its own, on which it stops wherever it waits.
type coroutine struct {
	name  string
	next  func() (struct{}, bool)
	stop  func()
	yield func(struct{}) bool
	done  bool

	// What it waits for; nothing: it is to look for itself.
	timer   <-chan time.Time
	signals task.Signals
	cond    func() bool
}

// mayGoOn says whether what the task waits for may be there.
func (c *coroutine) mayGoOn() bool {
	if c.cond != nil {
		return c.cond()
	}
	if c.timer != nil && len(c.timer) > 0 {
		return true
	}
	waits := c.timer != nil
	for _, s := range &c.signals {
		if s == nil {
			continue
		}
		waits = true
		if cap(s) > 0 {
			if len(s) > 0 {
				return true
			}
			continue
		}
		select {
		case <-s:
			return true
		default:
		}
	}
	return !waits
}

// ended unwinds the stack of a task whose host has died.
type ended struct{}

func (h *host) on() task.Tasks { return task.On(h) }

// Go implements task.Scheduler.
func (h *host) Go(name string, fn func()) {
	if h.dead {
		return
	}
	c := &coroutine{name: name}
	c.next, c.stop = iter.Pull(func(yield func(struct{}) bool) {
		c.yield = yield
		defer func() {
			switch p := recover().(type) {
			case nil, ended:
			default:
				h.failed(fmt.Errorf("%s: the task %s panics: %v\n%s", h.name, name, p,
					debug.Stack()))
			}
		}()
		if !h.dead {
			fn()
		}
	})
	h.tasks = append(h.tasks, c)
	h.progress = true
}

// Pause implements task.Scheduler.
func (h *host) Pause(timer <-chan time.Time, signals task.Signals) {
	if h.dead {
		panic(ended{})
	}
	c := h.current
	c.timer, c.signals = timer, signals
	if !c.yield(struct{}{}) {
		panic(ended{})
	}
	c.timer, c.signals = nil, task.Signals{}
}

// await pauses the task until cond holds.
func (h *host) await(cond func() bool) {
	c := h.current
	for !cond() {
		c.cond = cond
		h.Pause(nil, task.Signals{})
		c.cond = nil
	}
	h.progress = true
}

// Progress implements task.Scheduler.
func (h *host) Progress() { h.progress = true }

// run lets each task have the thread in turn, from a random one on, until all wait.
func (h *host) run() {
	if h.running || h.dead {
		return
	}
	h.running = true
	defer func() { h.running = false }()
	for pass := 0; ; pass++ {
		h.progress = false
		n := len(h.tasks)
		if n == 0 {
			return
		}
		start, ended := h.rng.IntN(n), false
		for i := range n {
			c := h.tasks[(start+i)%n]
			if c.done || !c.mayGoOn() {
				continue
			}
			h.current = c
			if _, ok := c.next(); !ok {
				c.done, ended = true, true
			}
			h.current = nil
			if h.dead {
				h.unwind()
				return
			}
		}
		if ended {
			h.sweep()
		}
		if !h.progress {
			return
		}
		if pass == maxPasses {
			h.failed(fmt.Errorf("%s: its tasks never wait", h.name))
			h.end()
			return
		}
	}
}

// sweep forgets tasks that have ended.
func (h *host) sweep() {
	kept := h.tasks[:0]
	for _, c := range h.tasks {
		if !c.done {
			kept = append(kept, c)
		}
	}
	clear(h.tasks[len(kept):])
	h.tasks = kept
}

// end ends all tasks, wherever they wait. A task of the host may call it; it does not return then
// from its next wait.
func (h *host) end() {
	h.dead = true
	if !h.running {
		h.unwind()
	}
}

// unwind lets the deferred calls of all tasks run.
func (h *host) unwind() {
	for _, c := range h.tasks {
		if !c.done {
			h.current = c
			c.stop()
			c.done = true
		}
	}
	h.tasks, h.current = nil, nil
}

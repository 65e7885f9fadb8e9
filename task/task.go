// Package task is the only door to concurrency of what a simulator has to run: who starts tasks,
// and how they wait. The product's tasks are goroutines, and a wait is a select. A simulator puts a
// [Scheduler] in their place: it runs one task at a time, in an order of its own choice, and gets
// the thread back whenever the task that has it waits. The code is the same.
//
//	switch tasks.Wait(timer.C(), ctx.Done(), wake) {
//	case task.Timer: ...
//	case 0: ... // ctx is done
//	case 1: ... // someone has poked
//	}
//
// Between two waits a simulated task is not interrupted. It must not block in any other way: on a
// channel, or on a lock that is held over a wait ([Mutex] is for those).
package task

import (
	"sync"
	"sync/atomic"
	"time"
)

// Scheduler runs tasks one at a time. Its methods are called by the task that runs.
type Scheduler interface {
	// Go adds a task, which begins later. name says what it does, for those who choose by it.
	Go(name string, fn func())
	// Pause lets others run and returns when something may have changed; if the task was ended it
	// does not return, and the stack is unwound. With channels that the task waits for, nothing has
	// changed before one of them has a value or is closed. Those without a buffer are closed, and
	// never sent to.
	Pause(timer <-chan time.Time, signals Signals)
	// Progress tells that the task found what it waited for.
	Progress()
}

// Tasks starts tasks and lets them wait; the zero value has goroutines.
type Tasks struct{ s Scheduler }

// On gives the tasks of a scheduler.
func On(s Scheduler) Tasks { return Tasks{s} }

// Go runs fn beside the caller.
func (t Tasks) Go(name string, fn func()) {
	if t.s != nil {
		t.s.Go(name, fn)
		return
	}
	go fn()
}

// Timer is what Wait returns for the timer.
const Timer = -1

// Signals are what one wait may be for.
type Signals [4]<-chan struct{}

// Wait returns when the timer has fired, or a signal was given or is closed: the number of the
// signal, or Timer. Nil channels never are. It takes up to four signals; of several at once a
// scheduler's tasks get the first, goroutines any.
func (t Tasks) Wait(timer <-chan time.Time, signals ...<-chan struct{}) int {
	var a Signals
	if copy(a[:], signals) < len(signals) {
		panic("task: too many signals for one wait")
	}
	if t.s != nil {
		return t.poll(timer, a)
	}
	select {
	case <-timer:
		return Timer
	case <-a[0]:
		return 0
	case <-a[1]:
		return 1
	case <-a[2]:
		return 2
	case <-a[3]:
		return 3
	}
}

// poll is Wait in the order of the arguments.
func (t Tasks) poll(timer <-chan time.Time, signals Signals) int {
	for {
		for i, c := range signals {
			select {
			case <-c:
				t.s.Progress()
				return i
			default:
			}
		}
		select {
		case <-timer:
			t.s.Progress()
			return Timer
		default:
		}
		t.s.Pause(timer, signals)
	}
}

// Receive waits for a value or a signal: which is the signal's number, or Timer for a value.
func Receive[T any](t Tasks, values <-chan T, signals ...<-chan struct{}) (v T, which int) {
	var a Signals
	if copy(a[:], signals) < len(signals) {
		panic("task: too many signals for one wait")
	}
	for t.s != nil {
		for i, c := range a {
			select {
			case <-c:
				t.s.Progress()
				return v, i
			default:
			}
		}
		select {
		case v = <-values:
			t.s.Progress()
			return v, Timer
		default:
		}
		t.s.Pause(nil, Signals{})
	}
	select {
	case v = <-values:
		return v, Timer
	case <-a[0]:
		return v, 0
	case <-a[1]:
		return v, 1
	case <-a[2]:
		return v, 2
	case <-a[3]:
		return v, 3
	}
}

// Mutex is a lock that may be held over a wait.
type Mutex struct{ mu sync.Mutex }

// Lock waits for the lock and takes it.
func (m *Mutex) Lock(t Tasks) {
	if t.s == nil {
		m.mu.Lock()
		return
	}
	for !m.mu.TryLock() {
		t.s.Pause(nil, Signals{})
	}
	t.s.Progress()
}

// TryLock takes the lock if nobody has it, and says whether it did.
func (m *Mutex) TryLock() bool { return m.mu.TryLock() }

// Unlock gives the lock back.
func (m *Mutex) Unlock() { m.mu.Unlock() }

// Group is a number of tasks whose end is waited for.
type Group struct {
	running sync.WaitGroup
	count   atomic.Int64
}

// Go runs fn beside the caller, as a task of the group. It must not be called beside a Wait that
// may find the group empty.
func (g *Group) Go(t Tasks, name string, fn func()) {
	g.running.Add(1)
	g.count.Add(1)
	t.Go(name, func() {
		defer g.running.Done()
		defer g.count.Add(-1)
		fn()
	})
}

// Wait returns when all tasks of the group have ended.
func (g *Group) Wait(t Tasks) {
	for t.s != nil && g.count.Load() > 0 {
		t.s.Pause(nil, Signals{})
	}
	if t.s == nil {
		g.running.Wait()
	}
}

package task_test

import (
	"testing"
	"time"

	"github.com/cairnkv/cairn/task"
)

// TestGoroutines: the zero value waits as a select does.
func TestGoroutines(t *testing.T) {
	var tasks task.Tasks
	fired := make(chan time.Time, 1)
	fired <- time.Time{}
	if got := tasks.Wait(fired, nil, nil); got != task.Timer {
		t.Errorf("the timer is %d", got)
	}
	closed := make(chan struct{})
	close(closed)
	for i := range 4 {
		signals := make([]<-chan struct{}, 4)
		signals[i] = closed
		if got := tasks.Wait(nil, signals...); got != i {
			t.Errorf("signal %d is %d", i, got)
		}
		if _, got := task.Receive[int](tasks, nil, signals...); got != i {
			t.Errorf("signal %d is %d to a receiver", i, got)
		}
	}
	values := make(chan int, 1)
	values <- 5
	if v, got := task.Receive(tasks, values); v != 5 || got != task.Timer {
		t.Errorf("received %d, %d", v, got)
	}
}

// TestGroup: Wait returns behind all that was begun.
func TestGroup(t *testing.T) {
	var tasks task.Tasks
	var group task.Group
	var mu task.Mutex
	count := 0
	for range 10 {
		group.Go(tasks, "counter", func() {
			mu.Lock(tasks)
			defer mu.Unlock()
			count++
		})
	}
	group.Wait(tasks)
	if count != 10 {
		t.Errorf("%d of 10 have counted", count)
	}
}

// BenchmarkWait compares a wait with the select that it stands for.
func BenchmarkWait(b *testing.B) {
	ready, never := make(chan struct{}, 1), make(chan struct{})
	b.Run("select", func(b *testing.B) {
		for b.Loop() {
			ready <- struct{}{}
			select {
			case <-never:
			case <-ready:
			}
		}
	})
	b.Run("wait", func(b *testing.B) {
		var tasks task.Tasks
		b.ReportAllocs()
		for b.Loop() {
			ready <- struct{}{}
			tasks.Wait(nil, never, ready)
		}
	})
}

package sim

import (
	"slices"
	"testing"

	"github.com/cairnkv/cairn/task"
)

// TestHost: tasks go on when what they wait for is there, locks may be held over waits, and the end
// unwinds every stack.
func TestHost(t *testing.T) {
	h := &host{name: "test", rng: stream(1, 1), failed: func(err error) { t.Error(err) }}
	tasks := h.on()
	wake, stop := make(chan struct{}, 1), make(chan struct{})
	var said []string
	var mu task.Mutex
	var group task.Group
	group.Go(tasks, "waiter", func() {
		for tasks.Wait(nil, stop, wake) == 1 {
			said = append(said, "woken")
		}
		said = append(said, "stopped")
	})
	values := make(chan int, 1)
	h.Go("receiver", func() {
		mu.Lock(tasks)
		v, which := task.Receive(tasks, values, stop)
		if v != 7 || which != task.Timer {
			t.Errorf("received %d, %d", v, which)
		}
		said = append(said, "received")
		mu.Unlock()
	})
	h.run()
	h.Go("locker", func() {
		mu.Lock(tasks)
		said = append(said, "locked")
	})
	h.run()
	wake <- struct{}{}
	h.run()
	values <- 7
	h.run()
	close(stop)
	h.Go("joiner", func() {
		group.Wait(tasks)
		said = append(said, "joined")
	})
	h.run()
	want := []string{"woken", "received", "locked", "stopped", "joined"}
	if !slices.Equal(said, want) {
		t.Errorf("happened %q, want %q", said, want)
	}
	unwound := 0
	for range 3 {
		h.Go("endless", func() {
			defer func() { unwound++ }()
			h.await(func() bool { return false })
		})
	}
	h.run()
	h.end()
	h.run()
	if unwound != 3 || len(h.tasks) != 0 {
		t.Errorf("%d of 3 stacks were unwound, %d tasks left", unwound, len(h.tasks))
	}
}

// TestHostFailures: a panic, and a task that never waits, are told.
func TestHostFailures(t *testing.T) {
	for name, fn := range map[string]func(h *host){
		"panic": func(*host) { panic("oh") },
		"busy": func(h *host) {
			for {
				h.Progress()
				h.Pause(nil, task.Signals{})
			}
		},
	} {
		failed := 0
		h := &host{name: name, rng: stream(1, 1), failed: func(error) { failed++ }}
		h.Go(name, func() { fn(h) })
		h.run()
		if failed != 1 {
			t.Errorf("%s: told %d times", name, failed)
		}
		h.end()
	}
}

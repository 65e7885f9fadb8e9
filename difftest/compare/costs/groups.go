package costs

import (
	"cmp"
	"slices"
	"strings"
)

// Groups that are no packages.
const (
	Network   = "kernel: sockets"
	Files     = "kernel: files and syncs"
	Kernel    = "kernel: other"
	Collector = "garbage collection"
	Scheduler = "scheduler"
	Runtime   = "Go runtime, other"
)

// Group is what belongs together.
type Group struct {
	Name  string  `json:"name"`
	Share float64 `json:"share"` // of all samples, 0..1
	Most  string  `json:"most"`  // the function in which most of it is spent
}

// Sum adds samples up by groups, the largest first.
func Sum(samples []Sample) []Group {
	var all int64
	times := map[string]int64{}
	inner := map[string]map[string]int64{}
	for _, s := range samples {
		name, function := classify(s.Stack)
		all += s.Time
		times[name] += s.Time
		if inner[name] == nil {
			inner[name] = map[string]int64{}
		}
		inner[name][function] += s.Time
	}
	var out []Group
	for name, t := range times {
		g := Group{Name: name, Share: float64(t) / float64(max(all, 1))}
		var most int64 = -1
		for function, ft := range inner[name] {
			if ft > most || ft == most && function < g.Most {
				g.Most, most = function, ft
			}
		}
		out = append(out, g)
	}
	slices.SortFunc(out, func(a, b Group) int {
		return cmp.Or(cmp.Compare(b.Share, a.Share), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// classify returns the group of a stack, and the function that stands for it.
func classify(stack []string) (group, function string) {
	if i := slices.IndexFunc(stack, collects); i >= 0 {
		return Collector, short(stack[i])
	}
	owner := slices.IndexFunc(stack, func(f string) bool { return !standard(f) })
	if len(stack) > 0 && calls(stack[0]) {
		function = short(stack[0])
		if owner >= 0 {
			function = short(stack[owner])
		}
		switch {
		case slices.ContainsFunc(stack, sockets):
			return Network, function
		case slices.ContainsFunc(stack, files):
			return Files, function
		}
		return Kernel, function
	}
	if owner >= 0 {
		return label(packageOf(stack[owner])), short(stack[owner])
	}
	if i := slices.IndexFunc(stack, schedules); i >= 0 {
		return Scheduler, short(stack[i])
	}
	if len(stack) == 0 {
		return Runtime, ""
	}
	return Runtime, short(stack[0])
}

// collects tells functions of the garbage collector.
func collects(f string) bool {
	for _, p := range []string{"runtime.gcBgMarkWorker", "runtime.gcAssistAlloc", "runtime.bgsweep",
		"runtime.bgscavenge", "runtime.gcStart", "runtime.gcMarkDone", "runtime.gcMarkTermination",
		"runtime.gcDrain"} {
		if strings.HasPrefix(f, p) {
			return true
		}
	}
	return false
}

// calls tells functions that are the kernel at work.
func calls(f string) bool {
	for _, p := range []string{"internal/runtime/syscall", "runtime/internal/syscall", "syscall.",
		"golang.org/x/sys/unix.", "runtime.epollwait", "runtime.madvise"} {
		if strings.HasPrefix(f, p) {
			return true
		}
	}
	return false
}

// sockets tells functions through which connections are reached.
func sockets(f string) bool {
	return strings.HasPrefix(f, "net.") || strings.HasPrefix(f, "runtime.netpoll")
}

// files tells functions through which files are reached.
func files(f string) bool {
	return strings.HasPrefix(f, "os.") || strings.HasPrefix(f, "golang.org/x/sys/unix.F") ||
		strings.HasPrefix(f, "syscall.F") || strings.Contains(f, "/vfs.") ||
		strings.Contains(f, "/fileutil.") || strings.Contains(f, "bbolt.")
}

// schedules tells functions that look for work or wait for it.
func schedules(f string) bool {
	for _, p := range []string{"runtime.schedule", "runtime.findRunnable", "runtime.mcall",
		"runtime.park_m", "runtime.mstart", "runtime.sysmon", "runtime.goexit0", "runtime.ready",
		"runtime.wakep", "runtime.futex", "runtime.morestack"} {
		if strings.HasPrefix(f, p) {
			return true
		}
	}
	return false
}

// packageOf returns the import path in a function's full name.
func packageOf(f string) string {
	f, _, _ = strings.Cut(f, "[") // type arguments have paths, too
	slash := strings.LastIndexByte(f, '/')
	if dot := strings.IndexByte(f[slash+1:], '.'); dot >= 0 {
		return f[:slash+1+dot]
	}
	return f
}

// standard tells functions of Go's own packages: their time is their caller's.
func standard(f string) bool {
	first, _, _ := strings.Cut(packageOf(f), "/")
	return !strings.Contains(first, ".") || strings.HasPrefix(f, "golang.org/x/sys/") ||
		strings.HasPrefix(f, "type:") // what the compiler makes: comparing, hashing
}

// labels are names for packages of others, by the prefix of their path.
var labels = []struct{ prefix, label string }{
	{"github.com/cairnkv/cairn/", ""},
	{"go.etcd.io/etcd/api/", "protobuf"},
	{"go.etcd.io/etcd/server/v3/", ""},
	{"go.etcd.io/etcd/", ""},
	{"go.etcd.io/raft/", "raft"},
	{"go.etcd.io/bbolt", "bbolt"},
	{"google.golang.org/grpc", "grpc-go"},
	{"google.golang.org/protobuf", "protobuf"},
	{"github.com/golang/protobuf", "protobuf"},
	{"github.com/gogo/protobuf", "protobuf"},
	{"golang.org/x/net", "grpc-go: x/net"},
	{"github.com/prometheus", "metrics"},
	{"github.com/grpc-ecosystem", "grpc-go: middleware"},
	{"go.uber.org/zap", "logging"},
	{"github.com/soheilhy/cmux", "cmux"},
	{"go.opentelemetry.io", "tracing"},
}

// label is what a package is called.
func label(path string) string {
	for _, l := range labels {
		if rest, ok := strings.CutPrefix(path, l.prefix); ok {
			if l.label == "" {
				return rest
			}
			return l.label
		}
	}
	return path
}

// short is a function's name without the path of its package, which is well known or long.
func short(f string) string {
	f, _, _ = strings.Cut(f, "[")
	return f[strings.LastIndexByte(f, '/')+1:]
}

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"github.com/cairnkv/cairn/difftest/compare/report"
)

// pin gives servers the first processor, the generator the second, and this process all but the
// first, if there are enough and taskset exists.
func (c *comparison) pin(ctx context.Context) bool {
	taskset, err := exec.LookPath("taskset")
	n := runtime.NumCPU()
	if err != nil || n < 2 {
		c.progress("no taskset, or one processor: servers and load share all there are")
		return false
	}
	cmd := exec.CommandContext(ctx, taskset, "-acp", fmt.Sprintf("1-%d", n-1),
		strconv.Itoa(os.Getpid()))
	if out, err := cmd.CombinedOutput(); err != nil {
		c.progress("not pinned: %v: %s", err, out)
		return false
	}
	c.servers = []string{taskset, "-c", "0"}
	c.loads = []string{taskset, "-c", "1"}
	return true
}

// machine describes this machine as far as Linux tells: nothing that names it.
func machine(dir string) report.Machine {
	m := report.Machine{Processors: runtime.NumCPU(), Model: runtime.GOARCH, System: runtime.GOOS,
		FileSystem: "unknown file system", Go: runtime.Version()}
	if model := lineOf("/proc/cpuinfo", "model name"); model != "" {
		m.Model = model
	}
	if kib, err := strconv.ParseInt(strings.TrimSuffix(lineOf("/proc/meminfo", "MemTotal"), " kB"),
		10, 64); err == nil {
		m.Memory = kib << 10
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		version, _, _ := strings.Cut(strings.TrimSpace(string(release)), "-")
		m.System = "Linux " + version
	}
	if mounts, err := os.ReadFile("/proc/self/mounts"); err == nil {
		m.FileSystem = fileSystem(string(mounts), dir)
	}
	return m
}

// lineOf returns what stands behind "name :" in a file of the kernel, "" if it is not there.
func lineOf(path, name string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.SplitSeq(string(data), "\n") {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// fileSystem finds the kind of file system that a directory is on, in /proc/mounts' format.
func fileSystem(mounts, dir string) string {
	kind, longest := "unknown file system", -1
	for line := range strings.SplitSeq(mounts, "\n") {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		point := strings.TrimSuffix(f[1], "/")
		if (dir == point || strings.HasPrefix(dir, point+"/")) && len(point) >= longest {
			kind, longest = f[2], len(point)
		}
	}
	return kind
}

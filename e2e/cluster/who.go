package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// socketOf returns the name of the socket whose end on 127.0.0.1 has a port, as the links in
// /proc/<pid>/fd have it; "" where there is no /proc, and when the connection is gone.
func socketOf(port int) string {
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return ""
	}
	local := fmt.Sprintf("0100007F:%04X", port)
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		// sl local_address rem_address st queues timer retransmits uid timeout inode
		if len(fields) > 9 && fields[1] == local && fields[9] != "0" {
			return "socket:[" + fields[9] + "]"
		}
	}
	return ""
}

// holds says whether a process has a socket open.
func holds(pid int, socket string) bool {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	files, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, f := range files {
		if name, err := os.Readlink(filepath.Join(dir, f.Name())); err == nil && name == socket {
			return true
		}
	}
	return false
}

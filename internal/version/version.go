// Package version is the one home of the version strings: which etcd we are compatible with, and
// which Cairn this is. Clients, tools and tests choose flags and features by the first; people read
// the second.
package version

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

const (
	// Etcd is the release of etcd that this one stands in for: what Status, /version and
	// `--version` report, as major.minor.patch.
	Etcd = "3.7.3"
	// Cluster is the version of the cluster once it is decided: major.minor of Etcd.
	Cluster = "3.7.0"
	// Storage is the version of the storage schema, as in etcd's snapshot files.
	Storage = "3.7.0"
	// MinCluster is the oldest cluster version that a member of this release joins.
	MinCluster = "3.0.0"
	// API is major.minor of the API, as `etcdctl version` prints it.
	API = "3.7"
	// Cairn is our own version.
	Cairn = "0.1.0"
)

// shaChars is how much of the revision is printed, as etcd does.
const shaChars = 9

// GitSHA is the abbreviated revision that the binary was built from, or "unknown" when it was
// built without version control at hand.
func GitSHA() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && s.Value != "" {
			return s.Value[:min(shaChars, len(s.Value))]
		}
	}
	return "unknown"
}

// Text is what `--version` prints. The first four lines are etcd's, where tools
// read them; ours comes after.
func Text() string {
	return fmt.Sprintf("etcd Version: %s\nGit SHA: %s\nGo Version: %s\nGo OS/Arch: %s/%s\n"+
		"Cairn Version: %s\n",
		Etcd, GitSHA(), runtime.Version(), runtime.GOOS, runtime.GOARCH, Cairn)
}

package version

import (
	"regexp"
	"strings"
	"testing"
)

// TestText holds the output against what tools parse: the first line, and one line per fact.
func TestText(t *testing.T) {
	lines := strings.Split(strings.TrimSuffix(Text(), "\n"), "\n")
	want := []string{`^etcd Version: 3\.7\.3$`, `^Git SHA: \S+$`, `^Go Version: \S+`,
		`^Go OS/Arch: \w+/\w+$`, `^Cairn Version: \d+\.\d+\.\d+$`}
	if len(lines) != len(want) {
		t.Fatalf("%d lines, want %d: %q", len(lines), len(want), lines)
	}
	for i, w := range want {
		if !regexp.MustCompile(w).MatchString(lines[i]) {
			t.Errorf("line %d is %q, want %s", i+1, lines[i], w)
		}
	}
	if !strings.HasPrefix(Etcd, API+".") || !strings.HasPrefix(Cluster, API+".") {
		t.Errorf("versions disagree: etcd %s, cluster %s, api %s", Etcd, Cluster, API)
	}
}

package difftest

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A mask replaces what may differ in a command's output between two servers.
type mask struct {
	pattern *regexp.Regexp
	by      string
}

// number finds a whole number that fills a column.
var number = regexp.MustCompile(`([,│|] )\d+([,│| ])`)

// masks returns the masks for the output of a command. Only those for endpoint status hide plain
// numbers, because there they are indexes and terms.
func masks(args []string) []mask {
	m := []mask{
		{regexp.MustCompile(`\btook:? =? ?\d+(\.\d+)?s\b`), "took TIME"},
		{regexp.MustCompile(`\b\d+(\.\d+)?(ns|µs|ms)\b`), "TIME"},
		{regexp.MustCompile(`remaining\(\d+s\)`), "remaining(TTL)"},
		{regexp.MustCompile(`("raft_?[tT]erm"): ?\d+`), "$1:TERM"},
		{regexp.MustCompile(`"RaftTerm" : \d+`), `"RaftTerm" : TERM`},
		{regexp.MustCompile(`("(raftIndex|raftAppliedIndex|dbSize|dbSizeInUse)"): ?\d+`), "$1:N"},
		{regexp.MustCompile(`("(RaftIndex|RaftAppliedIndex|DBSize|DBSizeInUse)" :) \d+`), "$1 N"},
		{regexp.MustCompile(`\b\d+(\.\d+)? [kM]?B\b`), "SIZE"},
		{regexp.MustCompile(`(?m)^Cairn version: .*\n`), ""},
		{regexp.MustCompile(`\bcairn (ctl|utl)\b`), "etcd$1"},
		{regexp.MustCompile(`[─-]{3,}`), "---"},
		{regexp.MustCompile(` {2,}`), " "},
	}
	if slices.Contains(args, "timetolive") {
		m = append(m, mask{regexp.MustCompile(`"ttl": ?\d+`), `"ttl":TTL`},
			mask{regexp.MustCompile(`"TTL" : \d+`), `"TTL" : TTL`})
	}
	if slices.Contains(args, "status") {
		m = append(m, mask{regexp.MustCompile(`\b\d+%`), "N%"},
			// Twice, because numbers next to each other share what stands between them.
			mask{number, "${1}N$2"}, mask{number, "${1}N$2"})
	}
	if slices.Contains(args, "status") || slices.Contains(args, "save") {
		m = append(m, mask{regexp.MustCompile(`\b3\.5\.0\b`), storageVersion}) // it comes in time
	}
	return m
}

// Mask returns the output of a command with the server's own addresses and ids replaced by names,
// and what else may differ by words in capitals.
func (s *Shell) Mask(c Command, output string) string {
	for _, r := range s.names() {
		output = strings.ReplaceAll(output, r.old, r.new)
	}
	for _, m := range masks(c.Args) {
		output = m.pattern.ReplaceAllString(output, m.by)
	}
	return output
}

// replacement is a text and what stands for it in masked output.
type replacement struct{ old, new string }

// names returns what to replace to mask the values of the variables, ids in every notation, longer
// texts first because they may hold shorter ones.
func (s *Shell) names() []replacement {
	var list []replacement
	for name, value := range s.Vars {
		forms := []string{value}
		if id, err := strconv.ParseUint(value, 16, 64); err == nil && len(value) == 16 {
			forms = append(forms, fmt.Sprint(id), fmt.Sprint(int64(id)), fmt.Sprintf("%x", id))
		}
		for _, form := range forms {
			if form != "" {
				list = append(list, replacement{form, "<" + name + ">"})
			}
		}
	}
	slices.SortFunc(list, func(a, b replacement) int {
		return cmp.Or(cmp.Compare(len(b.old), len(a.old)), cmp.Compare(a.old, b.old),
			cmp.Compare(a.new, b.new))
	})
	return list
}

// Complaint returns the lines of an error output that repeat what the server said. How a program
// words its own complaints is its own affair.
func Complaint(stderr string) string {
	var lines []string
	for line := range strings.Lines(stderr) {
		if strings.HasPrefix(line, "Error: etcdserver:") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

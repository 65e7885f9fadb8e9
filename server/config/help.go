package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// usage is what stands before every complaint about the command line.
func (p *parser) usage() string {
	n := p.program
	tools := ""
	if n == "cairn" {
		tools = `
  cairn ctl ... | cairn utl ...
    Talk to a cluster as etcdctl does, or work on backups and data directories as etcdutl.

  cairn playground
    Start a cluster on this machine, watch it, and break it.
`
	}
	return fmt.Sprintf(`Usage:

  %s [flags]
    Start a server.

  %s --version
    Show the version.

  %s -h | --help
    Show all flags, in groups, with examples.

  %s --config-file FILE
    Take the configuration from a file (YAML or JSON); flags and variables are then ignored.
%s
Every flag --a-b is also the environment variable ETCD_A_B.
`, n, n, n, n, tools)
}

// help lists every option by group.
func (p *parser) help() string {
	var b strings.Builder
	for _, g := range allGroupsInHelp {
		fmt.Fprintf(&b, "\n%s:\n", g.title)
		if g == formerGroup {
			b.WriteString(p.formerHelp())
			continue
		}
		var examples []string
		for _, o := range p.table.rows {
			if o.group != g {
				continue
			}
			fmt.Fprintf(&b, "  --%s '%s'\n    %s%s\n", o.name, o.def, o.help, o.remark())
			if o.example != "" {
				examples = append(examples, fmt.Sprintf("--%s='%s'", o.name, o.example))
			}
		}
		if len(examples) > 0 {
			fmt.Fprintf(&b, "  Example: %s %s\n", p.program, strings.Join(examples, " "))
		}
	}
	b.WriteString("\nFeature gates of --feature-gates:\n")
	for _, g := range gateTable() {
		fmt.Fprintf(&b, "  %s=true|false (%s - default=%t)\n", g.Name, g.Stage, g.Default)
	}
	return b.String()
}

// remark is the part of the help that says that an option does nothing.
func (o *option) remark() string {
	if o.effect == later {
		return " (accepted, no effect yet)"
	}
	return ""
}

func (p *parser) formerHelp() string {
	var rows []*option
	for _, o := range p.table.rows {
		if o.group == formerGroup {
			rows = append(rows, o)
		}
	}
	slices.SortFunc(rows, func(a, b *option) int { return cmp.Compare(a.name, b.name) })
	var b strings.Builder
	for _, o := range rows {
		now := ""
		if o.effect == renamed {
			now = " is --" + o.alias + " now"
		}
		fmt.Fprintf(&b, "  --%s%s\n", o.name, now)
	}
	b.WriteString("  Example: --debug=true is accepted and changes nothing.\n")
	return b.String()
}

// suggest adds the nearest name to Go's complaint about an unknown flag.
func (p *parser) suggest(complaint string) string {
	const unknown = "flag provided but not defined: -"
	name, ok := strings.CutPrefix(complaint, unknown)
	if !ok || len(name) > maxKeyBytes {
		return complaint
	}
	var all []string
	for _, o := range p.table.rows {
		if o.group != formerGroup {
			all = append(all, o.name)
		}
	}
	if near := nearest(name, all); near != "" {
		return complaint + "; did you mean --" + near + "?"
	}
	return complaint
}

func names(keys map[string]*option) []string {
	out := make([]string, 0, len(keys))
	for k := range keys {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// minPrefix is how many letters of an unknown name are taken for the beginning of a known one.
const minPrefix = 3

// nearest returns the name at the least edit distance, if that is at most a third of the name's
// length and one more (two letters swapped are two), else the first one whose beginning is as near,
// else "".
func nearest(name string, all []string) string {
	if best := closest(name, all, func(s string) string { return s }); best != "" {
		return best
	}
	if len(name) < minPrefix {
		return ""
	}
	return closest(name, all, func(s string) string { return s[:min(len(s), len(name)+1)] })
}

// closest returns the candidate whose part is nearest to name.
func closest(name string, all []string, part func(string) string) string {
	best, bestDistance := "", min(len(name)-1, len(name)/3+1)+1
	for _, candidate := range all {
		if d := distance(name, part(candidate)); d < bestDistance {
			best, bestDistance = candidate, d
		}
	}
	return best
}

// distance is Levenshtein's: insertions, deletions and replacements of bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

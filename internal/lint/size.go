package lint

import (
	"cmp"
	"fmt"
	"go/ast"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The limits. A screen shows a function, a head holds a file.
const (
	maxFileLines     = 500
	maxFunctionLines = 70
	maxColumns       = 100
	tabColumns       = 4 // what a tab counts in a line
)

// size is one thing that is over its limit.
type size struct {
	kind  string // "file", "function", "columns"
	where string // path, or path:Function
	value int    // lines; for columns, how many lines are too wide
	line  int    // the first line of it
}

func (s size) key() string { return s.kind + " " + s.where }

// measure returns what is over a limit in one file.
func measure(s *source) []size {
	var out []size
	lines := strings.Split(strings.TrimSuffix(string(s.text), "\n"), "\n")
	if len(lines) > maxFileLines {
		out = append(out, size{"file", s.path, len(lines), 1})
	}
	wide := size{"columns", s.path, 0, 0}
	for i, line := range lines {
		columns := utf8.RuneCountInString(line) + strings.Count(line, "\t")*(tabColumns-1)
		if columns > maxColumns {
			if wide.value == 0 {
				wide.line = i + 1
			}
			wide.value++
		}
	}
	if wide.value > 0 {
		out = append(out, wide)
	}
	for _, d := range s.ast.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		from, to := s.line(fn.Pos()), s.line(fn.End())
		if n := to - from + 1; n > maxFunctionLines {
			out = append(out, size{"function", s.path + ":" + functionName(fn), n, from})
		}
	}
	return out
}

// functionName is Receiver.Name for methods.
func functionName(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return fn.Name.Name
	}
	t := fn.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.Name + "." + fn.Name.Name
		default:
			return fn.Name.Name
		}
	}
}

// parseExceptions reads lines of "kind where value"; '#' begins a comment.
func parseExceptions(text string) (map[string]int, error) {
	out := map[string]int{}
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 3 {
			return nil, fmt.Errorf("line %d: want \"kind where value\", got %q", i+1, line)
		}
		value, err := strconv.Atoi(fields[2])
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		key := fields[0] + " " + fields[1]
		if _, twice := out[key]; twice {
			return nil, fmt.Errorf("line %d: %s stands there twice", i+1, key)
		}
		out[key] = value
	}
	return out, nil
}

// checkSizes holds the sizes of the whole project against the exceptions: an entry allows exactly
// the size that it names, so that what shrank cannot grow again, and what is gone is struck out.
func checkSizes(over []size, exceptions map[string]int) []Finding {
	var out []Finding
	seen := map[string]bool{}
	limits := map[string]int{"file": maxFileLines, "function": maxFunctionLines, "columns": 0}
	for _, s := range over {
		file, _, _ := strings.Cut(s.where, ":")
		allowed, ok := exceptions[s.key()]
		seen[s.key()] = true
		switch {
		case !ok && s.kind == "columns":
			out = append(out, Finding{file, s.line, "size",
				fmt.Sprintf("%d lines are wider than %d columns", s.value, maxColumns)})
		case !ok:
			out = append(out, Finding{file, s.line, "size",
				fmt.Sprintf("%s has %d lines, the limit is %d: split it by what it is about",
					s.where, s.value, limits[s.kind])})
		case s.value > allowed:
			out = append(out, Finding{file, s.line, "size", fmt.Sprintf(
				"%s grew from %d to %d; it may shrink only", s.key(), allowed, s.value)})
		case s.value < allowed:
			out = append(out, Finding{file, s.line, "size", fmt.Sprintf(
				"%s shrank from %d to %d: lower its entry in testdata/exceptions.txt",
				s.key(), allowed, s.value)})
		}
	}
	for key := range exceptions {
		if !seen[key] {
			out = append(out, Finding{"internal/lint/testdata/exceptions.txt", 0, "size",
				key + " is within the limits now, or gone: strike the entry out"})
		}
	}
	slices.SortFunc(out, func(a, b Finding) int { return cmp.Compare(a.String(), b.String()) })
	return out
}

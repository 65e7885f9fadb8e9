// Package lint holds the house rules that a machine can check, as tests that `go test ./...` runs:
// which package may import which, what may be touched only through its door (time, files, network,
// goroutines), what must not appear at all, and how large a file, a function, a line may be.
//
// A rule is data where it can be (lattice.go, bans.go), with the reason beside it: a finding prints
// the reason, so that nobody has to ask. To allow something new, change the data and say why; there
// is no comment that silences a rule. Sizes over the limit stand in testdata/exceptions.txt with
// the size that they have; an entry may shrink and has to go when it is no longer needed.
//
// Only go/parser and go/ast are used: the rules need no types and no build.
package lint

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// modulePath is the import path of the root package.
const modulePath = "github.com/cairnkv/cairn"

// Finding is one place that breaks a rule.
type Finding struct {
	File string // slash-separated, relative to the module's root
	Line int    // from 1; 0 is the whole file
	Rule string
	Text string // what is wrong, and the way out
}

func (f Finding) String() string {
	return fmt.Sprintf("%s:%d: %s: %s", f.File, f.Line, f.Rule, f.Text)
}

// source is one Go file, parsed.
type source struct {
	path string // as Finding.File
	dir  string // the package's directory, "." for the root
	test bool   // ends in _test.go, or belongs to a tree of tests
	text []byte
	fset *token.FileSet
	ast  *ast.File
}

func (s *source) line(p token.Pos) int { return s.fset.Position(p).Line }

func (s *source) finding(p token.Pos, rule, format string, args ...any) Finding {
	return Finding{s.path, s.line(p), rule, fmt.Sprintf(format, args...)}
}

// parseSource parses one file as if it stood at rel in the module.
func parseSource(rel string, text []byte) (*source, error) {
	fset := token.NewFileSet()
	mode := parser.ParseComments | parser.SkipObjectResolution
	parsed, err := parser.ParseFile(fset, rel, text, mode)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", rel, err)
	}
	dir := path.Dir(rel)
	test := strings.HasSuffix(rel, "_test.go") || under(dir, testTrees)
	return &source{rel, dir, test, text, fset, parsed}, nil
}

// under says whether dir is one of the trees or below one.
func under(dir string, trees []string) bool {
	return slices.ContainsFunc(trees, func(tree string) bool {
		return dir == tree || strings.HasPrefix(dir, tree+"/")
	})
}

// walk calls fn for each file below root that belongs to the project, in order. What git and the
// tools make (and every testdata below this package: it is wrong on purpose) is left out.
func walk(root string, fn func(rel string, text []byte) error) error {
	return filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if entry.IsDir() {
			if rel == ".git" || rel == "bin" || rel == "internal/lint/testdata" ||
				strings.HasSuffix(rel, ".cairn") || strings.HasSuffix(rel, ".etcd") {
				return fs.SkipDir
			}
			return nil
		}
		if !entry.Type().IsRegular() || !checkedFile(rel) {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return fn(rel, text)
	})
}

// checkedFile says whether the text rules look at a file: sources, scripts, pages, configuration.
func checkedFile(rel string) bool {
	switch path.Ext(rel) {
	case ".go", ".sh", ".md", ".mod", ".yaml", ".yml", ".txt":
		return true
	}
	return strings.HasPrefix(rel, ".ci/")
}

// importsOf returns the import paths of a file with their positions.
func importsOf(s *source) map[string]token.Pos {
	out := map[string]token.Pos{}
	for _, spec := range s.ast.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err == nil {
			out[p] = spec.Pos()
		}
	}
	return out
}

// checkFormat demands what gofmt would write.
func checkFormat(s *source) []Finding {
	want, err := format.Source(s.text)
	if err != nil {
		return []Finding{{s.path, 0, "gofmt", err.Error()}}
	}
	if !bytes.Equal(want, s.text) {
		return []Finding{{s.path, 0, "gofmt", "is not formatted; run gofmt -w on it"}}
	}
	return nil
}

// checkSource runs every rule that needs one Go file alone.
func checkSource(s *source) []Finding {
	var all []Finding
	for _, rule := range []func(*source) []Finding{
		checkFormat, checkLattice, checkModules, checkImports, checkCalls, checkGo, checkInit,
		checkDocs,
	} {
		all = append(all, rule(s)...)
	}
	return all
}

package lint

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// moduleRoot is where the rules run, seen from this package.
const moduleRoot = "../.."

// TestProject runs every rule over every file of the project. A finding says what to do.
func TestProject(t *testing.T) {
	var over []size
	docs := packageDocs{}
	files := 0
	err := walk(moduleRoot, func(rel string, text []byte) error {
		files++
		for _, f := range checkText(rel, text) {
			t.Error(f)
		}
		if !strings.HasSuffix(rel, ".go") {
			return nil
		}
		s, err := parseSource(rel, text)
		if err != nil {
			return err
		}
		for _, f := range checkSource(s) {
			t.Error(f)
		}
		over = append(over, measure(s)...)
		docs.add(s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/exceptions.txt")
	if err != nil {
		t.Fatal(err)
	}
	exceptions, err := parseExceptions(string(text))
	if err != nil {
		t.Fatalf("testdata/exceptions.txt: %v", err)
	}
	for _, f := range append(checkSizes(over, exceptions), docs.check()...) {
		t.Error(f)
	}
	t.Logf("%d files, %d exceptions", files, len(exceptions))
}

// wantComment marks a line of a bad example with the rule and the words that the finding must have.
var wantComment = regexp.MustCompile("// want (\\w+) `([^`]+)`")

// TestBadExamples holds each rule against files that break it: every marked line gives its finding,
// and no other line gives one.
func TestBadExamples(t *testing.T) {
	names, err := filepath.Glob("testdata/bad/*.txt")
	if err != nil || len(names) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			header, _, _ := strings.Cut(string(text), "\n")
			rel, ok := strings.CutPrefix(header, "// path: ")
			if !ok {
				t.Fatalf("the first line must be \"// path: dir/file.go\", it is %q", header)
			}
			s, err := parseSource(rel, text)
			if err != nil {
				t.Fatal(err)
			}
			var found []Finding
			for _, f := range append(checkSource(s), checkText(rel, text)...) {
				if f.Rule != "gofmt" { // the marks are not aligned; TestFormatRule tests it
					found = append(found, f)
				}
			}
			compareWithMarks(t, string(text), found)
		})
	}
}

func compareWithMarks(t *testing.T, text string, found []Finding) {
	t.Helper()
	used := make([]bool, len(found))
	marks := 0
	for i, line := range strings.Split(text, "\n") {
		for _, m := range wantComment.FindAllStringSubmatch(line, -1) {
			marks++
			hit := false
			for j, f := range found {
				if f.Line == i+1 && f.Rule == m[1] && strings.Contains(f.Text, m[2]) && !used[j] {
					used[j], hit = true, true
					break
				}
			}
			if !hit {
				t.Errorf("line %d: no finding of rule %s with %q", i+1, m[1], m[2])
			}
		}
	}
	for j, f := range found {
		if !used[j] {
			t.Errorf("unexpected: %s", f)
		}
	}
	if marks == 0 && len(found) == 0 {
		t.Error("the example is not bad")
	}
}

// TestFormatRule: a file that gofmt would change is found, and one that it would not is not.
func TestFormatRule(t *testing.T) {
	for text, want := range map[string]int{
		"package state\n\nvar a  = 1\n": 1,
		"package state\n\nvar a = 1\n":  0,
	} {
		s, err := parseSource("state/a.go", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := checkFormat(s); len(got) != want {
			t.Errorf("%q: %d findings, want %d", text, len(got), want)
		}
	}
}

// TestPackageDocs: one file of a package has to have the comment.
func TestPackageDocs(t *testing.T) {
	for _, c := range []struct {
		files map[string]string
		want  int
	}{
		{map[string]string{"a/x.go": "package a\n", "a/y.go": "// Package a is.\npackage a\n"}, 0},
		{map[string]string{"a/x.go": "package a\n", "b/y.go": "// Package b is.\npackage b\n"}, 1},
		{map[string]string{"a/x_test.go": "package a\n"}, 0},
	} {
		docs := packageDocs{}
		for path, text := range c.files {
			s, err := parseSource(path, []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			docs.add(s)
		}
		if got := docs.check(); len(got) != c.want {
			t.Errorf("%v: %v, want %d findings", c.files, got, c.want)
		}
	}
}

// TestLatticeTable checks the map itself: each package stands on one line, has a reason, and the
// lists of owners name packages that are on the map.
func TestLatticeTable(t *testing.T) {
	seen := map[string]bool{}
	for _, l := range layers {
		if l.reason == "" || l.name == "" {
			t.Errorf("layer %q has no name or reason", l.name)
		}
		for _, p := range l.packages {
			if seen[p] {
				t.Errorf("%s stands on two lines", p)
			}
			seen[p] = true
		}
	}
	for _, m := range modules {
		if m.reason == "" || len(m.users) == 0 {
			t.Errorf("module %s has no reason or no users", m.prefix)
		}
		for _, u := range m.users {
			if line, _ := rank(u); line < 0 {
				t.Errorf("module %s: user %s is not on the map", m.prefix, u)
			}
		}
	}
	if line, _ := rank("nowhere"); line >= 0 {
		t.Errorf("an unknown package has rank %d", line)
	}
}

package lint

import (
	"fmt"
	"strings"
	"testing"
)

// oversized is a file that breaks each limit once: its lines, one function, one wide line.
func oversized() string {
	var b strings.Builder
	b.WriteString("package state\n\nfunc (x *T[K]) Long() {\n")
	b.WriteString(strings.Repeat("\tx.y()\n", maxFunctionLines))
	b.WriteString("}\n\n// " + strings.Repeat("w", maxColumns) + "\n\n")
	b.WriteString(strings.Repeat("// line\n", maxFileLines))
	return b.String()
}

func measured(t *testing.T, text string) []size {
	t.Helper()
	s, err := parseSource("state/big.go", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return measure(s)
}

func TestMeasure(t *testing.T) {
	got := measured(t, oversized())
	var keys []string
	for _, s := range got {
		keys = append(keys, fmt.Sprintf("%s %d", s.key(), s.value))
	}
	want := []string{
		fmt.Sprintf("file state/big.go %d", maxFileLines+maxFunctionLines+7),
		"columns state/big.go 1",
		fmt.Sprintf("function state/big.go:T.Long %d", maxFunctionLines+2),
	}
	if strings.Join(keys, "\n") != strings.Join(want, "\n") {
		t.Errorf("measured\n%s\nwant\n%s", strings.Join(keys, "\n"), strings.Join(want, "\n"))
	}
	edge := "package state\n\nfunc f() {\n" + strings.Repeat("\tf()\n", maxFunctionLines-2) +
		"}\n\n// " + strings.Repeat("w", maxColumns-3) + "\n"
	if got := measured(t, edge); len(got) != 0 {
		t.Errorf("at the limits: %v", got)
	}
}

// TestRatchet: an exception allows its size exactly; growth, shrinking and leftovers are findings.
func TestRatchet(t *testing.T) {
	over := []size{{"file", "a/a.go", 600, 1}, {"function", "a/a.go:F", 80, 10}}
	for _, c := range []struct{ exceptions, want string }{
		{"file a/a.go 600\nfunction a/a.go:F 80 # a reason", ""},
		{"file a/a.go 600", "split it"},
		{"file a/a.go 599\nfunction a/a.go:F 80", "grew from 599 to 600"},
		{"file a/a.go 601\nfunction a/a.go:F 80", "shrank from 601 to 600"},
		{"file a/a.go 600\nfunction a/a.go:F 80\nfile a/b.go 501", "strike the entry out"},
	} {
		exceptions, err := parseExceptions(c.exceptions)
		if err != nil {
			t.Fatal(err)
		}
		got := checkSizes(over, exceptions)
		if c.want == "" && len(got) != 0 {
			t.Errorf("%q: %v", c.exceptions, got)
		}
		if c.want != "" && (len(got) != 1 || !strings.Contains(got[0].Text, c.want)) {
			t.Errorf("%q: got %v, want one finding with %q", c.exceptions, got, c.want)
		}
	}
	for _, bad := range []string{"file a.go", "file a.go many", "file a.go 1\nfile a.go 2"} {
		if _, err := parseExceptions(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

package lint

import (
	"go/ast"
	"go/token"
	"strings"
)

// checkDocs demands a comment on every exported function and type of the product. Methods that
// implement a well-known interface say all by their name, and one comment may stand over several
// functions that follow each other without a blank line.
func checkDocs(s *source) []Finding {
	if s.test || s.ast.Name.Name == "main" {
		return nil
	}
	var out []Finding
	covered := -1 // the line up to which a comment speaks: functions without a blank line between
	for _, d := range s.ast.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Doc != nil || s.line(d.Pos()) == covered+1 {
				covered = s.line(d.End())
				continue
			}
			if d.Name.IsExported() && !obvious(d) && exportedReceiver(d) {
				out = append(out, s.finding(d.Pos(), "docs",
					"%s has no comment: say what it does, in which units, for whom it is safe",
					functionName(d)))
			}
		case *ast.GenDecl:
			if d.Tok == token.TYPE {
				out = append(out, checkTypeDocs(s, d)...)
			}
		}
	}
	return out
}

// checkTypeDocs looks at types; a comment on the group or beside a type counts for it.
func checkTypeDocs(s *source, d *ast.GenDecl) []Finding {
	var out []Finding
	for _, spec := range d.Specs {
		t, ok := spec.(*ast.TypeSpec)
		if ok && t.Name.IsExported() && d.Doc == nil && t.Doc == nil && t.Comment == nil {
			out = append(out, s.finding(t.Pos(), "docs",
				"type %s has no comment: say what it is, and who owns it", t.Name.Name))
		}
	}
	return out
}

// exportedReceiver says whether a method can be reached from outside.
func exportedReceiver(d *ast.FuncDecl) bool {
	receiver, _, isMethod := strings.Cut(functionName(d), ".")
	return !isMethod || ast.IsExported(receiver)
}

// obvious names the methods of interfaces that every reader of Go knows.
func obvious(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return false
	}
	switch d.Name.Name {
	case "String", "Error", "Unwrap", "Is", "Close", "Len", "Less", "Swap", "Read", "Write",
		"MarshalJSON", "UnmarshalJSON", "ReadAt", "WriteAt":
		return true
	}
	return false
}

// packageDocs finds packages without a package comment. It sees all files of the project.
type packageDocs map[string]*packageDoc

type packageDoc struct {
	file string // the first file, for the finding
	has  bool
}

func (p packageDocs) add(s *source) {
	if strings.HasSuffix(s.path, "_test.go") {
		return
	}
	d := p[s.dir]
	if d == nil {
		d = &packageDoc{file: s.path}
		p[s.dir] = d
	}
	d.has = d.has || s.ast.Doc != nil
}

func (p packageDocs) check() []Finding {
	var out []Finding
	for dir, d := range p {
		if !d.has {
			out = append(out, Finding{d.file, 1, "docs",
				"package " + dir + " has no package comment: say what it is for, and its contract"})
		}
	}
	return out
}

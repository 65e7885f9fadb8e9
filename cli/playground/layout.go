package playground

// Heights of the parts of the screen, in lines.
const (
	minLogLines   = 4 // events that are always to be seen, if the terminal has room for anything
	graphWidthMin = 12
	linkCell      = 3 // columns of a member in the matrix of links
	linkHead      = 9 // columns before the matrix
)

// layout says which parts the screen has room for. The table and the keys always stand there; the
// matrix of links becomes one line, and blank lines go, before the log gets less than minLogLines.
type layout struct {
	blanks   bool // between the parts
	hint     bool // how to talk to the cluster
	matrix   bool
	helpRows int
	logLines int // with the heading
}

// layout divides the height of the terminal.
func (m *model) layout() layout {
	n := max(1, len(m.rows))
	l := layout{blanks: true, hint: true, matrix: true, helpRows: len(m.helpLines())}
	rest := func() int {
		used := 1 + 1 + n + l.helpRows // title, heading of the table, table
		if l.blanks {
			used += 3 // below the title, around the links
		}
		if l.hint {
			used++
		}
		if l.matrix {
			used += 1 + n
		} else {
			used += 2
		}
		return m.height - used - 1 // the log's own heading
	}
	for _, give := range []*bool{&l.matrix, &l.blanks, &l.hint} {
		if rest() >= minLogLines {
			break
		}
		*give = false
	}
	l.logLines = max(1, rest())
	return l
}

package ctl

import (
	"fmt"
	"regexp"
	"strconv"

	"github.com/cairnkv/cairn/cli/internal/terminal"
)

// wordPattern finds the words of a line of txn or watch input: "double quoted" with Go's escapes,
// 'single quoted' without any, or plain. It is etcdctl's grammar: a plain word begins with neither
// a space nor a quote and runs to the next space.
var wordPattern = regexp.MustCompile(
	`"(?:[^"\\]|\\.)*"` + `|` + `'[^']*'` + `|` + `[^'"\s]\S*[^'"\s]?`)

// splitWords splits a line into words and takes their quotes off.
func splitWords(line string) ([]string, error) {
	words := wordPattern.FindAllString(line, -1)
	for i, w := range words {
		switch w[0] {
		case '\'':
			words[i] = w[1 : len(w)-1]
		case '"':
			unquoted, err := strconv.Unquote(w)
			if err != nil {
				return nil, terminal.Fail(terminal.ExitInvalidInput,
					fmt.Errorf("word %s: %w", w, err))
			}
			words[i] = unquoted
		}
	}
	return words, nil
}

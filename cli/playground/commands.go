package playground

import (
	"fmt"
	"strings"
)

// commandHelp lists the commands that are read where there is no terminal.
const commandHelp = "kill M, pause M, resume M, restart M, isolate M, split M..., cut M M, heal, " +
	"add, learner, promote M, remove M, lead M, load, quit"

// command does what a line says. Its words are those of commandHelp; a member is m2, or 2.
func (m *model) command(line string) []order {
	words := strings.Fields(line)
	if len(words) == 0 {
		return nil
	}
	var names []string
	for _, w := range words[1:] {
		r := m.row(namePrefix + strings.TrimPrefix(w, namePrefix))
		if r == nil {
			m.say(bad, "%s: there is no member %q", words[0], w)
			return nil
		}
		names = append(names, r.name)
	}
	simple := map[string]func(m *model) []order{
		"heal": (*model).heal, "load": (*model).toggleLoad, "quit": (*model).quit,
		"add":     func(m *model) []order { return m.add(verbAdd) },
		"learner": func(m *model) []order { return m.add(verbAddLearner) },
	}
	selecting := map[string]func(m *model) []order{
		"kill": (*model).kill, "pause": (*model).pause, "resume": (*model).resume,
		"restart": (*model).restart, "start": (*model).restart, "isolate": (*model).isolate,
		"promote": (*model).promote, "lead": (*model).lead,
		"remove": func(m *model) []order { return m.about(verbRemove) },
	}
	if do := simple[words[0]]; do != nil && len(names) == 0 {
		return do(m)
	}
	if do := selecting[words[0]]; do != nil && len(names) == 1 {
		m.selected = names[0]
		return do(m)
	}
	switch {
	case words[0] == "split" && len(names) > 0:
		return m.split(names)
	case words[0] == "cut" && len(names) == 2:
		return m.toggleCut(names[0], names[1])
	}
	m.say(bad, "%s", fmt.Sprintf("%q is no command; there are: %s", line, commandHelp))
	return nil
}

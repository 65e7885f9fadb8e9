package playground

import "strings"

// prompt asks for the digits of members, or for a yes.
type prompt struct {
	text   string
	digits string
	most   int  // digits, 0: a yes or no
	ready  bool // as soon as there are that many
	do     func(m *model, names []string) []order
}

func (m *model) askSplit() []order {
	if len(m.rows) < 2 {
		return m.refuse("there is nobody that it could be split from")
	}
	m.prompt = &prompt{
		text: "split: members of one side (digits, then enter): ", most: len(m.rows) - 1,
		do: (*model).split,
	}
	return nil
}

func (m *model) askCut() []order {
	if len(m.rows) < 2 {
		return m.refuse("there is no link that could be cut")
	}
	m.prompt = &prompt{
		text: "cut or heal: from whom to whom (two digits): ", most: 2, ready: true,
		do: func(m *model, names []string) []order { return m.toggleCut(names[0], names[1]) },
	}
	return nil
}

func (m *model) askRemove() []order {
	if len(m.rows) < 2 {
		return m.refuse("it is the last one: q ends the playground")
	}
	m.prompt = &prompt{
		text: "remove " + m.selected + " from the cluster, and its data? (y/n) ",
		do:   func(m *model, _ []string) []order { return m.about(verbRemove) },
	}
	return nil
}

// pressPrompt takes a key for the prompt.
func (m *model) pressPrompt(key string) []order {
	p := m.prompt
	switch {
	case p.most == 0:
		m.prompt = nil
		if key == "y" || key == "Y" {
			return p.do(m, nil)
		}
	case key == "esc":
		m.prompt = nil
	case key == "backspace":
		p.digits = p.digits[:max(0, len(p.digits)-1)]
	case key == "enter" && (!p.ready && p.digits != ""):
		return m.answerPrompt(p)
	case m.row(namePrefix+key) != nil && len(p.digits) < p.most &&
		!strings.Contains(p.digits, key):
		p.digits += key
		if p.ready && len(p.digits) == p.most {
			return m.answerPrompt(p)
		}
	}
	return nil
}

func (m *model) answerPrompt(p *prompt) []order {
	m.prompt = nil
	var names []string
	for _, d := range p.digits {
		names = append(names, namePrefix+string(d))
	}
	return p.do(m, names)
}

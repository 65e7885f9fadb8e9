package playground

import "charm.land/lipgloss/v2"

// tone is the meaning of a text, which decides its colour. No meaning is told by colour alone.
type tone int

const (
	plain tone = iota
	dim
	good
	warn
	bad
	strong
	title
	chosen // the selected row
)

// theme is how tones look.
type theme map[tone]lipgloss.Style

// colours is the theme for terminals. It keeps to the sixteen colours that the terminal's own
// scheme defines, so that it can be read on light and on dark ground.
func colours() theme {
	style := lipgloss.NewStyle
	return theme{
		dim:    style().Foreground(lipgloss.BrightBlack),
		good:   style().Foreground(lipgloss.Green),
		warn:   style().Foreground(lipgloss.Yellow),
		bad:    style().Foreground(lipgloss.Red),
		strong: style().Bold(true),
		title:  style().Bold(true).Foreground(lipgloss.BrightWhite).Background(lipgloss.Blue),
		chosen: style().Bold(true),
	}
}

// colourless is the theme for NO_COLOR, and for tests.
func colourless() theme { return theme{} }

// paint gives a text its tone.
func (t theme) paint(tone tone, text string) string {
	style, ok := t[tone]
	if !ok || text == "" {
		return text
	}
	return style.Render(text)
}

// tones of the roles.
var roleTones = map[role]tone{
	roleLeader: good, roleOldLeader: warn, roleFollower: plain, roleCandidate: warn,
	roleLearner: plain, roleCutOff: bad, roleStarting: dim, roleSilent: bad, rolePaused: warn,
	roleKilled: bad, roleEnded: bad, roleRemoved: bad,
}

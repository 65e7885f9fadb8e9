package playground

import (
	"context"
	"errors"
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/cairnkv/cairn/clock"
)

// runScreen draws on the terminal until a key or the context ends it.
func (p *playground) runScreen(ctx context.Context, cfg Config) error {
	s := &screen{playground: p, theme: colours()}
	for _, kv := range cfg.Environ {
		if value, ok := strings.CutPrefix(kv, "NO_COLOR="); ok && value != "" {
			s.theme = colourless()
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	program := tea.NewProgram(s, tea.WithContext(ctx), tea.WithInput(cfg.Stdin),
		tea.WithOutput(cfg.Stdout), tea.WithEnvironment(cfg.Environ), tea.WithoutSignalHandler())
	p.send = func(e event) { program.Send(e) }
	failed := make(chan error, 1)
	go func() {
		err := p.cluster.start()
		failed <- err
		if err != nil {
			cancel()
		}
	}()
	s.gone = func() bool { return gone(cfg.Stdout) }
	_, err := program.Run()
	cancel()
	if errors.Is(err, tea.ErrProgramKilled) && errors.Is(err, context.Canceled) {
		err = nil
	}
	select {
	case e := <-failed:
		err = errors.Join(err, e)
	default:
	}
	end := "The playground has ended, its data is deleted."
	if p.cluster.home.kept {
		end = "The playground ends; its data stays in " + p.cluster.home.dir + "."
	}
	fmt.Fprintln(cfg.Stdout, end) // nobody may be there to read it
	return err
}

// screen is the playground as the terminal's library wants it. The library's loop owns it.
type screen struct {
	*playground
	theme theme
	gone  func() bool // says whether the terminal is
}

// Init begins the ticks.
func (s *screen) Init() tea.Cmd { return s.tick() }

func (s *screen) tick() tea.Cmd {
	return func() tea.Msg {
		timer := clock.Real().NewTimer(tickEvery)
		defer timer.Stop()
		select {
		case <-timer.C():
		case <-s.ctx.Done():
		}
		return passed{}
	}
}

// Update turns the library's messages into events.
func (s *screen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	var next tea.Cmd
	switch msg := msg.(type) {
	case tea.KeyPressMsg:
		s.take(pressed{msg.String()})
	case tea.WindowSizeMsg:
		s.take(resized{msg.Width, msg.Height})
	case passed:
		if s.gone() {
			return s, tea.Quit
		}
		s.take(msg)
		next = s.tick()
	case joined, answered, silent, counted, listed, ended, finished:
		s.take(msg)
	}
	if s.model.done {
		return s, tea.Quit
	}
	return s, next
}

// View draws the model.
func (s *screen) View() tea.View {
	v := tea.NewView(s.model.view(s.theme))
	v.AltScreen = true
	v.WindowTitle = "cairn playground"
	return v
}

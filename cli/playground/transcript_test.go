package playground

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/google/go-cmp/cmp"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the transcripts in testdata")

// TestTranscripts plays each file of testdata to a model. A line is a step: the time, what happens,
// and its arguments; "->" lines behind it are the orders that the model gives. "screen" draws, and
// "plain" writes what a plain playground would have written since the last time.
//
//	1.5s join m1 23790          a member, its port
//	1.5s is m1 leader=m1 term=2 index=8 revision=1 keys=0
//	2s   press k                keys, one after the other
//	2s   done kill m1           the end of an order; "failed kill m1: why" is another
//	2s   screen 80x24
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(want))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("-rewrite takes this over, if it is right (-want +got):\n%s", diff)
			}
		})
	}
}

// player plays a transcript to a model.
type player struct {
	t     *testing.T
	m     *model
	plain *plainOutput
	text  *strings.Builder // of plain
	out   strings.Builder
	ids   map[string]uint64
}

// play returns the transcript with what the model does now.
func play(t *testing.T, script string) string {
	text := &strings.Builder{}
	p := &player{
		t: t, m: newModel(texts{name: "cairn", program: "cairn", env: "/run/cairn-play-1/env"}),
		plain: &plainOutput{w: text, begun: true}, text: text, ids: map[string]uint64{},
	}
	for _, line := range strings.SplitAfter(script, "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "|") || strings.HasPrefix(line, "->"):
		case trimmed == "" || strings.HasPrefix(line, "#"):
			p.out.WriteString(line)
		default:
			p.out.WriteString(line)
			at, rest, _ := strings.Cut(trimmed, " ")
			d, err := time.ParseDuration(at)
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			verb, args, _ := strings.Cut(strings.TrimSpace(rest), " ")
			p.step(d, verb, strings.TrimSpace(args))
		}
	}
	return p.out.String()
}

// step plays one line.
func (p *player) step(at time.Duration, verb, args string) {
	words := strings.Fields(args)
	switch verb {
	case "join":
		p.tell(at, p.join(words))
	case "is":
		for _, e := range p.is(words) {
			p.tell(at, e)
		}
	case "silent":
		p.tell(at, silent{args})
	case "ended":
		name, how, _ := strings.Cut(args, ": ")
		p.tell(at, ended{name, how})
	case "listed":
		ids := map[uint64]bool{}
		for _, name := range words {
			ids[p.id(name)] = true
		}
		p.tell(at, listed{ids})
	case "press":
		for _, key := range words {
			p.tell(at, pressed{key})
		}
	case "type":
		p.tell(at, typed{args})
	case "done", "failed":
		p.tell(at, p.finished(verb == "failed", args))
	case "load":
		p.tell(at, p.load(words))
	case "wait":
		p.tell(at, passed{})
	case "screen":
		p.screen(at, args)
	case "plain":
		p.plain.write(p.m)
		p.show(strings.TrimSuffix(p.text.String(), "\n"))
		p.text.Reset()
	default:
		p.t.Fatalf("%q is no step", verb)
	}
}

// tell gives the model an event and notes its orders.
func (p *player) tell(at time.Duration, e event) {
	for _, o := range p.m.update(at, e) {
		fmt.Fprintf(&p.out, "-> %s %s", o.verb, o.member)
		for _, a := range p.m.rows {
			for _, b := range p.m.rows {
				if o.cuts[pair{a.name, b.name}] {
					fmt.Fprintf(&p.out, " %s>%s", a.name, b.name)
				}
			}
		}
		if o.via != "" {
			fmt.Fprintf(&p.out, " via %s", o.via)
		}
		if o.verb == verbLoad {
			fmt.Fprintf(&p.out, "%v", o.on)
		}
		p.out.WriteString("\n")
	}
}

// id makes up an id for a member.
func (p *player) id(name string) uint64 {
	if name == "none" {
		return 0
	}
	return 0xa0b1c2d3e4f50000 + uint64(name[len(name)-1])
}

func (p *player) join(words []string) joined {
	return joined{name: words[0], id: p.id(words[0]), endpoint: "127.0.0.1:" + words[1],
		learner: len(words) > 2}
}

// is makes the answers of a member of "name key=value ...".
func (p *player) is(words []string) []event {
	s, c := status{id: p.id(words[0]), size: 20480}, counted{name: words[0]}
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, "=")
		n, _ := strconv.ParseUint(value, 10, 64) // leader and alarm are words
		switch key {
		case "leader":
			s.leader = p.id(value)
		case "term":
			s.term = n
		case "index":
			s.index, s.applied = n, n
		case "applied":
			s.applied = n
		case "revision":
			s.revision = int64(n)
		case "size":
			s.size = int64(n)
		case "learner":
			s.learner = true
		case "alarm":
			s.alarms = append(s.alarms, value)
		case "keys":
			c.keys = int64(n)
		case "watchers":
			c.watchers = int64(n)
		default:
			p.t.Fatalf("%q says nothing about a member", w)
		}
	}
	return []event{answered{words[0], s}, c}
}

// finished makes the end of an order of "verb member", or for new members "add m4 23820".
func (p *player) finished(failed bool, args string) finished {
	text, why, _ := strings.Cut(args, ": ")
	words := strings.Fields(text)
	f := finished{order: order{verb: verb(words[0])}}
	if failed {
		f.err = fmt.Errorf("%s", why)
	}
	switch f.order.verb {
	case verbAdd, verbAddLearner:
		if !failed {
			f.joined = p.join(words[1:])
			f.joined.learner = f.order.verb == verbAddLearner
		}
	case verbLoad:
		f.order.on = words[1] == "true"
	default:
		f.order.member = strings.Join(words[1:], " ")
	}
	return f
}

// load makes what the load saw of "writes=N latency=D stalled=D longest=D outage=D".
func (p *player) load(words []string) measured {
	var m measured
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		if key == "writes" {
			m.writes, _ = strconv.Atoi(value)
			continue
		}
		d, err := time.ParseDuration(value)
		if err != nil {
			p.t.Fatal(err)
		}
		switch key {
		case "latency":
			m.latency = d
		case "stalled":
			m.stalled = d
		case "longest":
			m.longest = d
		case "outage":
			m.outages = append(m.outages, d)
		}
	}
	return m
}

// screen draws, with and without colours: the text must be the same, and fill the terminal.
func (p *player) screen(at time.Duration, size string) {
	var r resized
	if _, err := fmt.Sscanf(size, "%dx%d", &r.width, &r.height); err != nil {
		p.t.Fatalf("screen %q: %v", size, err)
	}
	p.tell(at, r)
	text := p.m.view(colourless())
	lines := strings.Split(text, "\n")
	if len(lines) != r.height {
		p.t.Errorf("%v: %d lines on %s", at, len(lines), size)
	}
	for i, line := range strings.Split(p.m.view(colours()), "\n") {
		if w := lipgloss.Width(line); w > r.width {
			p.t.Errorf("%v: a line is %d wide on %s: %q", at, w, size, line)
		}
		if i < len(lines) && lipgloss.Width(line) != lipgloss.Width(lines[i]) {
			p.t.Errorf("%v: colours change the width of %q", at, lines[i])
		}
	}
	p.show(text)
}

// show writes what is to be compared, with a bar before each line.
func (p *player) show(text string) {
	for _, line := range strings.Split(text, "\n") {
		p.out.WriteString("|" + strings.TrimRight(line, " ") + "\n")
	}
}

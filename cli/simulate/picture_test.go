package simulate

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cairnkv/cairn/sim"
)

// TestPicture draws a film of all states, and one that has nothing.
func TestPicture(t *testing.T) {
	film := &sim.Film{Every: 20 * time.Millisecond, Members: []string{"m0", "<m1>"}}
	for i := range 100 {
		frame := sim.Frame{Acked: int64(3 * i), Unknown: int64(i / 2), Refused: int64(i / 3)}
		frame.Looks = append(frame.Looks, sim.Look{
			State: sim.State(i / 13), Term: 7, Revision: int64(i), Cut: i%20 < 5,
		})
		if i > 50 {
			late := sim.Look{State: sim.Leading, Term: 12345, Revision: 99}
			frame.Looks = append(frame.Looks, late)
		}
		film.Frames = append(film.Frames, frame)
		film.Ends = time.Duration(i) * film.Every
	}
	film.Marks = []sim.Mark{
		{At: 0, Kind: sim.PhaseMark, Text: "faults"},
		{At: time.Second, Kind: sim.FaultMark, Text: "17 power failure"},
		{At: 2 * time.Second, Kind: sim.FailureMark, Text: "a < b"},
	}
	r := &sim.Result{Options: sim.Draw(1), Failure: errors.New("a < b & c")}
	page := drawn(t, r, film)
	for _, want := range []string{"a &lt; b &amp; c", "&lt;m1&gt;", ">12345</text>",
		"fault 17 power failure", "<li value=17>1s power failure", "class=failed"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for s := sim.Down; s <= sim.Leading; s++ {
		if want := fmt.Sprintf("<rect class=%s ", states[s].class); !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	drawn(t, &sim.Result{}, &sim.Film{Every: 20 * time.Millisecond})
}

// unquoted are attributes as HTML allows them and XML does not.
var unquoted = regexp.MustCompile(`([a-z0-9-]+)=([A-Za-z0-9.-]+)`)

// drawn draws a page, whose picture must be well-formed.
func drawn(t *testing.T, r *sim.Result, film *sim.Film) string {
	t.Helper()
	var b bytes.Buffer
	if err := draw(&b, r, film); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	svg := page[strings.Index(page, "<svg"):]
	svg = svg[:strings.Index(svg, "</svg>")+len("</svg>")]
	for d := xml.NewDecoder(strings.NewReader(unquoted.ReplaceAllString(svg, `$1="$2"`))); ; {
		if _, err := d.Token(); err == io.EOF {
			return page
		} else if err != nil {
			t.Fatalf("%v in %s", err, svg)
		}
	}
}

// TestPictureFile: the verb writes it.
func TestPictureFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "run.html")
	code, out := call(t.Context(), "--seed", "3", "--quiet", "--picture", file)
	page, err := os.ReadFile(file)
	if code != 0 || err != nil || !bytes.Contains(page, []byte("seed 3: ")) ||
		!bytes.Contains(page, []byte("class=lead ")) {
		t.Errorf("exit %d, %v: %s", code, err, out)
	}
}

package bench

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// barWidth is how many characters the bar has.
const barWidth = 40

// bar shows progress on a terminal, and nothing elsewhere.
type bar struct {
	out   io.Writer // nil: nowhere
	began time.Time
}

func newBar(w io.Writer) *bar {
	b := &bar{began: time.Now()}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		b.out = w
	}
	return b
}

// show draws the bar over the one before.
func (b *bar) show(done, total int64) {
	if b.out == nil || total <= 0 {
		return
	}
	share := min(max(float64(done)/float64(total), 0), 1)
	full := int(share * barWidth)
	fmt.Fprintf(b.out, "\r[%s%s] %3.0f%%  %v ", strings.Repeat("#", full),
		strings.Repeat(" ", barWidth-full), share*100, time.Since(b.began).Round(time.Second))
}

// clear removes the bar.
func (b *bar) clear() {
	if b.out != nil {
		fmt.Fprint(b.out, "\r\033[K")
	}
}

// Package svg draws the few kinds of charts that the comparison needs, as SVG text that is readable
// on light and on dark pages: colours come from a style sheet that asks which of them it is on, and
// there is no background.
//
//	Pairs     a row for each thing that was measured, with two bars; the longer has full length
//	Groups    bars side by side in groups, on a logarithmic scale
//	Lines     curves over a logarithmic scale
//
// What is drawn depends on nothing but the arguments. Widths of texts are estimated, on the safe
// side, for there is no font at hand.
package svg

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strconv"
)

// Width is how wide every chart is, in pixels.
const Width = 760

const (
	margin     = 16
	titleSize  = 16 // of the font, in pixels
	textSize   = 13
	smallSize  = 11
	charWidth  = 0.62 // of the size: how wide a character is at most, on average
	titleSpace = 44   // for the title and the legend
)

// style has the colours. s0 and s1 are the two things that are compared.
const style = `text{font:13px system-ui,-apple-system,sans-serif;fill:#1f2328}` +
	`.t{font-size:16px;font-weight:600}.s{font-size:11px}.d{fill:#59636e}.e{text-anchor:end}` +
	`.m{text-anchor:middle}.s0{fill:#8295ab}.s1{fill:#e0662f}` +
	`.l0{stroke:#8295ab}.l1{stroke:#e0662f}.l{fill:none;stroke-width:2.5}.g{stroke:#d1d9e0}` +
	`@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.d{fill:#9aa4af}.g{stroke:#3d444d}}`

// canvas collects elements.
type canvas struct {
	body   bytes.Buffer
	height int
}

// finish returns the whole file.
func (c *canvas) finish(title string) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" `+
		`viewBox="0 0 %d %d" role="img">`+"\n", Width, c.height, Width, c.height)
	fmt.Fprintf(&out, "<title>%s</title>\n<style>%s</style>\n", escape(title), style)
	out.Write(c.body.Bytes())
	out.WriteString("</svg>\n")
	return out.Bytes()
}

func escape(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // a bytes.Buffer takes everything
	return b.String()
}

// number has at most one decimal.
func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

func round(v float64) float64 {
	r, _ := strconv.ParseFloat(strconv.FormatFloat(v, 'f', 1, 64), 64) // it was formatted here
	return r
}

// text puts a text with its base line at y; class is of the style sheet.
func (c *canvas) text(x, y float64, class, s string) {
	fmt.Fprintf(&c.body, `<text x="%s" y="%s" class="%s">%s</text>`+"\n", number(round(x)),
		number(round(y)), class, escape(s))
}

func (c *canvas) rect(x, y, w, h float64, class string) {
	fmt.Fprintf(&c.body, `<rect x="%s" y="%s" width="%s" height="%s" rx="2" class="%s"/>`+"\n",
		number(round(x)), number(round(y)), number(round(max(w, 0.5))), number(round(h)), class)
}

func (c *canvas) line(x1, y1, x2, y2 float64, class string) {
	fmt.Fprintf(&c.body, `<line x1="%s" y1="%s" x2="%s" y2="%s" class="%s"/>`+"\n",
		number(round(x1)), number(round(y1)), number(round(x2)), number(round(y2)), class)
}

// head draws the title, and the legend beside it.
func (c *canvas) head(title string, names []string) {
	c.text(margin, margin+titleSize*0.8, "t", title)
	x := float64(Width - margin)
	for i := len(names) - 1; i >= 0; i-- {
		x -= wide(names[i], textSize)
		c.text(x, margin+titleSize*0.8, "", names[i])
		x -= 18
		c.rect(x, margin+titleSize*0.8-11, 12, 12, "s"+strconv.Itoa(i))
		x -= 14
	}
}

// wide estimates the width of a text.
func wide(s string, size float64) float64 { return float64(len([]rune(s))) * size * charWidth }

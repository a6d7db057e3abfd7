package main

import (
	"encoding/xml"
	"fmt"
	"math"
	"strings"
)

// Plots: horizontal bars in SVG, by hand, for they must be readable on a light and
// on a dark page, and be the same bytes for the same results.

// Sizes in pixels.
const (
	svgWidth  = 860
	svgLabels = 250 // where bars begin
	svgBars   = 520 // the longest bar
	svgBar    = 13
	svgGap    = 9 // between groups
	svgTop    = 34
)

// Colours have contrast enough on white and on black; the text follows the page.
const svgStyle = `text{font:12px system-ui,sans-serif;fill:#24292f}.t{font-weight:600;font-size:14px}.n{font-size:11px}.g{stroke:#8b949e;stroke-opacity:.35}` +
	`.c0{fill:#2f81f7}.c1{fill:#d4761b}.c2{fill:#2da44e}.c3{fill:#a371f7}@media(prefers-color-scheme:dark){text{fill:#e6edf3}}`

const svgColours = 4

// draw returns the plot of a chart.
func (c chart) draw(files []result) ([]byte, error) {
	g, err := c.grid(files)
	if err != nil {
		return nil, err
	}
	top := svgTop
	if len(g.heads) > 1 {
		top += 20
	}
	group := len(g.heads)*svgBar + svgGap
	height := top + len(g.lines)*group + 24
	axis := newAxis(c.log, g)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">`+"\n", svgWidth, height, svgWidth, height)
	fmt.Fprintf(&b, "<title>%s</title>\n<style>%s</style>\n", escape(c.title), svgStyle)
	fmt.Fprintf(&b, `<text class="t" x="8" y="20">%s</text>`+"\n", escape(c.title))
	if len(g.heads) > 1 {
		for i, head := range g.heads {
			x := 8 + i*svgWidth/len(g.heads)
			fmt.Fprintf(&b, `<rect class="c%d" x="%d" y="31" width="10" height="10"/><text class="n" x="%d" y="40">%s</text>`+"\n", i%svgColours, x, x+15, escape(head))
		}
	}
	for _, tick := range axis.ticks() {
		x := svgLabels + axis.at(tick)
		fmt.Fprintf(&b, `<line class="g" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/><text class="n" x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n",
			x, x, top-4, height-20, x, height-6, short(tick))
	}
	for i, line := range g.lines {
		y := top + i*group
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", svgLabels-8, y+(group-svgGap)/2+4, escape(strings.ReplaceAll(line, "/", ", ")))
		for j, head := range g.heads {
			if values := g.cells[line][head]; len(values) > 0 {
				v := median(values)
				length := max(axis.at(v), 1)
				fmt.Fprintf(&b, `<rect class="c%d" x="%d" y="%d" width="%.1f" height="%d"/><text class="n" x="%.1f" y="%d">%s</text>`+"\n",
					j%svgColours, svgLabels, y+j*svgBar, length, svgBar-1, svgLabels+length+4, y+j*svgBar+10, short(v))
			}
		}
	}
	b.WriteString("</svg>\n")
	return []byte(b.String()), nil
}

func escape(s string) string {
	var b strings.Builder
	if err := xml.EscapeText(&b, []byte(s)); err != nil {
		return "" // a strings.Builder does not fail
	}
	return b.String()
}

// An axis maps values to lengths of bars.
type axis struct {
	log      bool
	from, to float64
}

func newAxis(log bool, g grid) axis {
	a := axis{log: log}
	least := math.Inf(1)
	for _, cells := range g.cells {
		for _, values := range cells {
			if v := median(values); v > 0 {
				least, a.to = min(least, v), max(a.to, v)
			}
		}
	}
	switch {
	case a.to == 0:
		a.log, a.to = false, 1
	case log: // whole decades, so that the shortest bar has a length, too
		a.from, a.to = math.Pow(10, math.Ceil(math.Log10(least))-1), math.Pow(10, math.Ceil(math.Log10(a.to)))
	}
	return a
}

func (a axis) at(v float64) float64 {
	if a.log {
		if v <= a.from {
			return 0
		}
		return svgBars * math.Log10(v/a.from) / math.Log10(a.to/a.from)
	}
	return svgBars * v / a.to
}

// ticks are decades, or four to eight round steps.
func (a axis) ticks() (at []float64) {
	if a.log {
		for v := a.from; v <= a.to*1.0001; v *= 10 {
			at = append(at, v)
		}
		return at
	}
	step := math.Pow(10, math.Floor(math.Log10(a.to)))
	for _, part := range []float64{1, 0.5, 0.2} {
		if a.to/(step*part) >= 4 {
			step *= part
			break
		}
	}
	for i := 0; float64(i)*step <= a.to; i++ {
		at = append(at, float64(i)*step)
	}
	return at
}

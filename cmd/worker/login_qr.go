package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
	"rsc.io/qr"

	"github.com/tgswitchboard/switchboard/internal/cli"
)

// quiet is how many modules a QR code needs around it. Source: ISO/IEC 18004.
const quiet = 4

// drawQR is the QR code of text for a terminal, two modules to a character, black on
// white whatever the terminal's colours are.
func drawQR(text string) (lines []string, width int, err error) {
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return nil, 0, fmt.Errorf("make a QR code: %w", err)
	}
	width = code.Size + 2*quiet
	for y := -quiet; y < code.Size+quiet; y += 2 {
		var b strings.Builder
		b.WriteString("\x1b[30;107m")
		for x := -quiet; x < code.Size+quiet; x++ {
			switch up, down := code.Black(x, y), code.Black(x, y+1); {
			case up && down:
				b.WriteString("█")
			case up:
				b.WriteString("▀")
			case down:
				b.WriteString("▄")
			default:
				b.WriteString(" ")
			}
		}
		b.WriteString("\x1b[0m")
		lines = append(lines, b.String())
	}
	return lines, width, nil
}

// ShowQR implements login.Asker. A new code takes the place of the one before.
func (p *loginPrompt) ShowQR(_ context.Context, url string, until time.Time) error {
	lines, width, err := drawQR(url)
	if err != nil {
		return err
	}
	if f, ok := p.env.Stderr.(*os.File); ok {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 && columns < width {
			return cli.Usage("the terminal has %d columns, and the QR code needs %d; make it wider", columns, width)
		}
	}
	lines = append(lines, fmt.Sprintf("Scan it in an official app (Settings > Devices > Link Desktop Device); a new one follows at %s.", until.Format(time.TimeOnly)))
	var b strings.Builder
	if p.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\x1b[J", p.drawn)
	}
	for _, line := range lines {
		b.WriteString(line + "\r\n")
	}
	p.drawn = len(lines)
	_, err = fmt.Fprint(p.env.Stderr, b.String())
	return err
}

package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// Out is what a command says on stdout: with --json one JSON object per line
// and nothing else, otherwise text for people. It is not for concurrent use.
type Out struct {
	JSON     bool // --json
	Terminal bool // stdout is a terminal

	w io.Writer
}

func newOut(w io.Writer, json bool) *Out {
	return &Out{JSON: json, Terminal: IsTerminal(w), w: w}
}

// IsTerminal tells whether somebody sees at once what is written to w.
func IsTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Object writes v as a line of JSON. Without --json it does nothing.
func (o *Out) Object(v any) error {
	if !o.JSON {
		return nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	_, err := o.w.Write(escapeControls(b.Bytes()))
	return err
}

// escapeControls escapes what encoding/json leaves as it is although a terminal
// may obey it: DEL and U+0080 to U+009F. They occur inside strings only.
func escapeControls(line []byte) []byte {
	out := line[:0:0]
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == 0x7f:
			out = append(out, `\u007f`...)
		case c == 0xc2 && i+1 < len(line) && line[i+1] <= 0x9f:
			out = fmt.Appendf(out, `\u%04x`, line[i+1])
			i++
		default:
			out = append(out, c)
		}
	}
	return out
}

// Printf writes text for people. With --json it does nothing. Text that others
// wrote goes through Clean first.
func (o *Out) Printf(format string, args ...any) error {
	if o.JSON {
		return nil
	}
	_, err := fmt.Fprintf(o.w, format, args...)
	return err
}

// Table begins a table for people; nothing is written with --json.
func (o *Out) Table(header ...string) *Table {
	t := &Table{out: o, w: tabwriter.NewWriter(o.w, 0, 0, 2, ' ', 0)}
	if len(header) > 0 {
		t.Row(header...)
	}
	return t
}

// Table aligns columns. Its cells are cleaned.
type Table struct {
	out *Out
	w   *tabwriter.Writer
}

// Row adds a row. An empty cell shows as "-", so that columns keep their place.
func (t *Table) Row(cells ...string) {
	if t.out.JSON {
		return
	}
	clean := make([]string, len(cells))
	for i, cell := range cells {
		if clean[i] = Clean(cell); clean[i] == "" {
			clean[i] = "-"
		}
	}
	fmt.Fprintln(t.w, strings.Join(clean, "\t")) // the writer keeps its error for Flush
}

// Flush writes the table.
func (t *Table) Flush() error {
	if t.out.JSON {
		return nil
	}
	return t.w.Flush()
}

// Clean makes text from elsewhere safe to print: control characters and those
// that reorder text are escaped, so that a title cannot move the cursor.
func Clean(s string) string {
	clean := true
	for _, r := range s {
		if !printable(r) {
			clean = false
			break
		}
	}
	if clean && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case printable(r):
			b.WriteRune(r)
		default:
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
		i += n
	}
	return b.String()
}

func printable(r rune) bool {
	const joiner = '\u200d' // inside many emoji
	return unicode.IsGraphic(r) && r != '\u2028' && r != '\u2029' || r == joiner
}

// Time is t for people, in their time zone; "" if it is zero.
func Time(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

func isDuration(s string) bool {
	_, err := time.ParseDuration(s)
	return err == nil
}

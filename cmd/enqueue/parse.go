package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/peers"
)

// maxLine is the longest line that `parse -` reads and repeats, in bytes. No peer
// is as long; the limit keeps a file without line ends out of memory.
const maxLine = 4 << 20

func parseCommand(env *cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:   "parse PEER...",
		Short: "Say what a peer input means",
		Long: `Say what a peer input means, as send and resolve would understand it. Nothing is
asked of Redis or Telegram. "-" reads one input a line from stdin.

An input is one of
  me, self                            the account itself
  @name                               a username
  +491701234567                       a phone number
  42, -42, -1001234567890             a Bot API id of a user, a chat, a channel
  user:42, chat:42, channel:42        a bare id with its kind
  u.42.AAAAAAAAACI, c.42.0, g.42.0    an id with its access hash
  https://t.me/..., tg://...          a link to any of them, a message or an invite

The exit code is 1 if any of the inputs names no peer.`,
		Example: `  enqueue parse @durov +491701234567 -1001234567890
  enqueue parse https://t.me/c/1234567/89 --json
  enqueue parse --json - < inputs.txt`,
		Args: cli.Args("PEER..."),
		RunE: func(cmd *cobra.Command, args []string) error {
			p := parser{out: env.Out}
			for _, arg := range args {
				var err error
				if arg == "-" {
					err = p.lines(cli.Reader(cmd.Context(), env.Stdin))
				} else {
					err = p.input(peers.Describe(arg))
				}
				if err != nil {
					return err
				}
			}
			if p.bad {
				return cli.ErrFailed
			}
			return nil
		},
	}
}

// parser prints what inputs mean, each before it reads the next.
type parser struct {
	out *cli.Out
	bad bool // an input named no peer
}

// described is a Description that shows an empty input too.
type described struct {
	Input string `json:"input"`
	peers.Description
}

func (p *parser) input(d peers.Description) error {
	if d.Error != nil {
		p.bad = true
	}
	if p.out.JSON {
		return p.out.Object(described{d.Input, d})
	}
	kind, meaning := d.Kind, meaning(d)
	if d.Error != nil {
		kind, meaning = "error", d.Error.Code+": "+d.Error.Message
	}
	input := d.Input
	if input == "" {
		input = `""`
	}
	return p.out.Printf("%-32s  %-8s  %s\n", cli.Clean(input), kind, cli.Clean(meaning))
}

// meaning is a description in words that the kind does not say.
func meaning(d peers.Description) string {
	var words []string
	add := func(format string, v any) { words = append(words, fmt.Sprintf(format, v)) }
	if d.Username != "" {
		add("@%s", d.Username)
	}
	if d.Phone != "" {
		add("+%s", d.Phone)
	}
	if d.ID != 0 {
		add("id %d", d.ID)
	}
	if d.AccessHash != "" {
		add("access hash %s", d.AccessHash)
	}
	if d.Hash != "" {
		add("hash %s", d.Hash)
	}
	if d.MsgID != 0 {
		add("message %d", d.MsgID)
	}
	if d.ThreadID != 0 {
		add("thread %d", d.ThreadID)
	}
	if d.Peer != nil {
		add("in %s", strings.TrimSpace(d.Peer.Kind+" "+meaning(*d.Peer)))
	}
	return strings.Join(words, ", ")
}

// lines reads one input a line.
func (p *parser) lines(r io.Reader) error {
	in := bufio.NewReaderSize(r, 64<<10)
	for n := 1; ; n++ {
		line, length, err := readLine(in)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read line %d of stdin: %w", n, err)
		}
		if errors.Is(err, io.EOF) && length == 0 {
			return nil
		}
		d := peers.Description{Input: line}
		if length > maxLine {
			d.Error = &peers.ParseError{Input: line, Code: peers.CodeInvalidUsername, Message: fmt.Sprintf(
				"peer %s is cut off: line %d has %d bytes, and at most %d are read; give one peer a line", strconv.Quote(line), n, length, maxLine)}
		} else {
			d = peers.Describe(line)
		}
		if err := p.input(d); err != nil {
			return err
		}
		if err != nil {
			return nil
		}
	}
}

// readLine reads a line without its end and tells how long it was. Of a line
// longer than maxLine it returns the beginning. The error is io.EOF after the
// last line, and with it if that has no end.
func readLine(in *bufio.Reader) (line string, length int, err error) {
	var b []byte
	for {
		var more []byte
		more, err = in.ReadSlice('\n')
		length += len(more)
		if len(b) <= maxLine { // so it stays within a buffer of the limit
			b = append(b, more...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			break
		}
	}
	if err == nil {
		length--
	}
	if length > maxLine {
		const shown = 64
		return strings.ToValidUTF8(string(b[:shown]), "") + "…", length, err
	}
	return strings.TrimSuffix(string(b[:length]), "\r"), length, err
}

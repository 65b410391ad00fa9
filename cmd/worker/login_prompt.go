package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/tgswitchboard/switchboard/accounts/login"
	"github.com/tgswitchboard/switchboard/internal/cli"
)

// loginPrompt asks on stderr and reads lines of stdin.
type loginPrompt struct {
	env      *cli.Env
	in       io.Reader
	phone    string // given already; "" once it was used
	password string // likewise
	gavePass bool   // password was used

	sent  login.Sent // explained last
	drawn int        // lines of the QR code above the cursor
}

var _ login.Asker = (*loginPrompt)(nil)

func newLoginPrompt(env *cli.Env, phone string) *loginPrompt {
	return &loginPrompt{env: env, in: env.Stdin, phone: phone}
}

// Say implements login.Asker.
func (p *loginPrompt) Say(text string) {
	p.drawn = 0
	fmt.Fprintln(p.env.Stderr, cli.Clean(text))
}

// Phone implements login.Asker.
func (p *loginPrompt) Phone(ctx context.Context) (string, error) {
	if given := p.phone; given != "" {
		p.phone = ""
		return given, nil
	}
	return p.line(ctx, "Phone number, with the country's code: ", "give --phone")
}

// resendWord asks for the code to be sent in another way.
const resendWord = "resend"

// Code implements login.Asker.
func (p *loginPrompt) Code(ctx context.Context, s login.Sent) (code string, resend bool, err error) {
	known := s == p.sent
	p.sent = s
	if !known {
		p.Say(s.How)
	}
	if !known && s.Next != "" {
		text := fmt.Sprintf("Type '%s' to have it sent %s", resendWord, s.Next)
		if wait := time.Until(s.NextAt); wait > 0 {
			text += fmt.Sprintf(", from %s on", s.NextAt.Format(time.TimeOnly))
		}
		p.Say(text + ".")
	}
	code, err = p.line(ctx, "Code: ", "have a line with it on stdin")
	return code, strings.EqualFold(code, resendWord), err
}

// Another implements login.Asker.
func (p *loginPrompt) Another(ctx context.Context) (bool, error) {
	for {
		text, err := p.line(ctx, "Have a new one sent? [Y/n] ", "have a line with y or n on stdin")
		if err != nil {
			return false, err
		}
		switch strings.ToLower(text) {
		case "", "y", "yes":
			return true, nil
		case "n", "no":
			return false, nil
		}
	}
}

// Password implements login.Asker. One that was given is tried once.
func (p *loginPrompt) Password(ctx context.Context, hint string) (string, error) {
	switch given := p.password; {
	case p.gavePass:
		return "", fmt.Errorf("the password in %s or --password-file is wrong", passwordEnv)
	case given != "":
		p.password, p.gavePass = "", true
		return given, nil
	}
	prompt := "Password of the account (2FA): "
	if hint != "" {
		prompt = fmt.Sprintf("Password of the account (2FA; hint: %s): ", cli.Clean(hint))
	}
	return p.secret(ctx, prompt, passwordEnv, "password-file")
}

// secret asks for what is not shown. It may be empty.
func (p *loginPrompt) secret(ctx context.Context, prompt, variable, flag string) (string, error) {
	instead := fmt.Sprintf("put it into %s or the file of --%s", variable, flag)
	f, ok := p.env.Stdin.(*os.File)
	if !ok || !cli.IsTerminal(f) {
		return p.line(ctx, prompt, instead)
	}
	p.drawn = 0
	fd := int(f.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("look at the terminal: %w", err)
	}
	defer func() { _ = term.Restore(fd, before) }() // it worked a moment ago
	if err := hideTyping(fd); err != nil {
		return "", fmt.Errorf("have the terminal hide what is typed: %w", err)
	}
	fmt.Fprint(p.env.Stderr, prompt)
	defer fmt.Fprintln(p.env.Stderr) // the line's end was not shown either
	type answer struct {
		text []byte
		err  error
	}
	got := make(chan answer, 1) // nobody may wait for it any more
	go func() {                 // a read of a terminal cannot be interrupted: it ends with the program then
		text, err := term.ReadPassword(fd)
		got <- answer{text, err}
	}()
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case a := <-got:
		if errors.Is(a.err, io.EOF) {
			return "", noAnswer(instead)
		}
		return string(a.text), a.err
	}
}

// line asks for a line. instead is what would do where there is none.
func (p *loginPrompt) line(ctx context.Context, prompt, instead string) (string, error) {
	p.drawn = 0
	fmt.Fprint(p.env.Stderr, prompt)
	text, err := readLine(ctx, p.in)
	switch {
	case errors.Is(err, io.EOF):
		fmt.Fprintln(p.env.Stderr)
		return "", noAnswer(instead)
	case err != nil:
		fmt.Fprintln(p.env.Stderr)
		return "", err
	case !cli.IsTerminal(p.env.Stdin):
		fmt.Fprintln(p.env.Stderr) // a terminal has shown the line's end
	}
	return text, nil
}

func noAnswer(instead string) error {
	return errors.New("stdin has ended before that was answered; " + instead)
}

// maxLine is the longest answer.
const maxLine = 4 << 10

// readLine reads byte by byte, so that what follows the line is left to whoever reads
// next. A last line may lack its end.
func readLine(ctx context.Context, in io.Reader) (string, error) {
	var line []byte
	one := make([]byte, 1)
	in = cli.Reader(ctx, onlyOne{in})
	for len(line) < maxLine {
		n, err := in.Read(one)
		switch {
		case n == 1 && one[0] == '\n', errors.Is(err, io.EOF) && len(line) > 0:
			return string(bytes.TrimSpace(line)), nil
		case n == 1:
			line = append(line, one[0])
		case err != nil:
			return "", err
		}
	}
	return "", fmt.Errorf("an answer is longer than %d KiB", maxLine>>10)
}

// onlyOne reads one byte at a time.
type onlyOne struct{ io.Reader }

func (r onlyOne) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(1, len(p))]) }

package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/internal/tljson"
)

func methodsCommand(env *cli.Env) *cobra.Command {
	var types bool
	cmd := &cobra.Command{
		Use:   "methods [PATTERN]",
		Short: "Show what invoke can call",
		Long: `Show the methods of Telegram's API that invoke can call, from the schema that this
program carries; nothing is asked of Redis or Telegram.

PATTERN is a part of a name in any case, or with * for any text the whole of it.
Of a single method, or one whose exact name is given, everything is shown: what it
takes and answers, the errors that Telegram documents, and an example.

The name of a type or of a constructor shows its fields.`,
		Example: `  enqueue methods sendMedia
  enqueue methods 'channels.get*'
  enqueue methods messages.getHistory --json
  enqueue methods InputMedia
  enqueue methods inputMediaUploadedPhoto`,
		Args: cli.Args("[PATTERN]"),
		RunE: func(_ *cobra.Command, args []string) error {
			pattern := strings.Join(args, "")
			if types {
				return showTypes(env.Out, pattern)
			}
			found := tljson.Find(pattern)
			switch {
			case len(found) == 0:
				return showTypes(env.Out, pattern)
			case env.Out.JSON:
				return methodLines(env.Out, found)
			case len(found) == 1:
				return methodPage(env.Out, found[0])
			}
			return methodTable(env.Out, found)
		},
	}
	cmd.Flags().BoolVar(&types, "type", false, "PATTERN is the name of a type or constructor, although methods match it")
	return cmd
}

// methodLine is a method as a line of JSON.
type methodLine struct {
	Method      string          `json:"method"`
	Constructor string          `json:"constructor"` // 0x…
	Params      []paramLine     `json:"params"`
	Result      string          `json:"result"`
	Description string          `json:"description,omitempty"`
	Errors      []errorLine     `json:"errors"`
	Restricted  string          `json:"restricted,omitempty"` // why it is refused unless it is allowed
	Repeatable  bool            `json:"repeatable"`
	Example     json.RawMessage `json:"example"`
}

type paramLine struct {
	Name        string           `json:"name"`
	Type        string           `json:"type"`
	Optional    bool             `json:"optional"`
	Default     bool             `json:"default,omitempty"`
	Automatic   tljson.Automatic `json:"automatic,omitempty"`
	Description string           `json:"description,omitempty"`
}

type errorLine struct {
	Code        int    `json:"code"`
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
}

// typeLine is a constructor as a line of JSON.
type typeLine struct {
	Type        string      `json:"type"`
	Name        string      `json:"name"`
	Constructor string      `json:"constructor"`
	Fields      []paramLine `json:"fields"`
	Description string      `json:"description,omitempty"`
}

func methodLines(out *cli.Out, found []tljson.Method) error {
	for _, m := range found {
		l := methodLine{
			Method: m.Name, Constructor: hexID(m.ID), Params: paramLines(m.Params), Result: m.Result, Description: m.Doc,
			Errors: []errorLine{}, Restricted: m.Restricted, Repeatable: m.Repeatable, Example: tljson.Example(m.Name),
		}
		for _, e := range m.Errors {
			l.Errors = append(l.Errors, errorLine{e.Code, e.Name, e.Doc})
		}
		if err := out.Object(l); err != nil {
			return err
		}
	}
	return nil
}

func paramLines(params []tljson.Parameter) []paramLine {
	lines := []paramLine{}
	for _, p := range params {
		lines = append(lines, paramLine{p.Name, p.Type, p.Optional, p.Default, p.Automatic, p.Doc})
	}
	return lines
}

// hexID is the number of a constructor as the schema and --dry-run write it.
func hexID(id uint32) string { return fmt.Sprintf("0x%08x", id) }

func methodTable(out *cli.Out, found []tljson.Method) error {
	t := out.Table("METHOD", "TAKES", "ANSWERS")
	for _, m := range found {
		t.Row(m.Name, takes(m), m.Result)
	}
	return t.Flush()
}

// takes names the parameters that a method requires, and counts the others.
func takes(m tljson.Method) string {
	var names []string
	others := 0
	for _, p := range m.Params {
		if p.Required() {
			names = append(names, p.Name)
		} else {
			others++
		}
	}
	if others > 0 {
		names = append(names, fmt.Sprintf("[%d more]", others))
	}
	return strings.Join(names, ", ")
}

func methodPage(out *cli.Out, m tljson.Method) error {
	head := m.Name + "\n"
	if m.Doc != "" {
		head += cli.Clean(m.Doc) + "\n"
	}
	head += "https://core.telegram.org/method/" + m.Name + "\n\n"
	if m.Restricted != "" {
		head += fmt.Sprintf("Restricted: %s. Workers refuse it unless they run with --allow-method %s.\n\n", m.Restricted, m.Name)
	}
	if !m.Repeatable {
		head += "Not repeated: if the answer to a call is lost, its job is unknown; see --retry-unknown of invoke.\n\n"
	}
	head += fmt.Sprintf("Example:\n  enqueue invoke --account alice %s %s\n\n", m.Name, shellQuote(string(tljson.Example(m.Name))))
	if err := out.Printf("%s", head); err != nil {
		return err
	}
	if err := fieldTable(out, "PARAMETER", m.Params); err != nil {
		return err
	}
	if err := out.Printf("Answer: %s\n", m.Result); err != nil || len(m.Errors) == 0 {
		return err
	}
	if err := out.Printf("\n"); err != nil {
		return err
	}
	t := out.Table("CODE", "ERROR", "MEANS")
	for _, e := range m.Errors {
		t.Row(strconv.Itoa(e.Code), e.Name, e.Doc)
	}
	return t.Flush()
}

// fieldTable prints parameters, and an empty line.
func fieldTable(out *cli.Out, what string, params []tljson.Parameter) error {
	if len(params) == 0 {
		return nil
	}
	t := out.Table(what, "TYPE", "GIVEN", "MEANS")
	for _, p := range params {
		t.Row(p.Name, p.Type, need(p), strings.TrimSpace(p.Doc+stands[p.Automatic]))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return out.Printf("\n")
}

func need(p tljson.Parameter) string {
	switch {
	case p.Automatic == tljson.AutomaticRandom:
		return "filled in"
	case p.Default:
		return "may be left out"
	case p.Optional:
		return "optional"
	}
	return "required"
}

// stands says what may be written instead of an object.
var stands = map[tljson.Automatic]string{
	tljson.AutomaticPeer:    " (a peer: @name, id, link …)",
	tljson.AutomaticUser:    " (a user: @name, id, link …)",
	tljson.AutomaticChannel: " (a channel or supergroup: @name, id, link …)",
	tljson.AutomaticFile:    ` (also {"_":"file","path":…})`,
}

// showTypes shows the constructors of a type, or one. The error names methods that
// may have been meant.
func showTypes(out *cli.Out, name string) error {
	name = strings.TrimSuffix(strings.TrimPrefix(name, "Vector<"), ">")
	found := tljson.Constructors(name)
	if len(found) == 0 {
		_, err := tljson.Describe(name)
		return cli.Usage("%w, and no type has this name", err)
	}
	for _, c := range found {
		if out.JSON {
			if err := out.Object(typeLine{c.Class, c.Name, hexID(c.ID), paramLines(c.Fields), c.Doc}); err != nil {
				return err
			}
			continue
		}
		text := fmt.Sprintf("%s, of type %s\n", c.Name, c.Class)
		if c.Doc != "" {
			text += cli.Clean(c.Doc) + "\n"
		}
		if err := out.Printf("%s\n", text); err != nil {
			return err
		}
		if err := fieldTable(out, "FIELD", c.Fields); err != nil {
			return err
		}
	}
	return nil
}

// shellQuote is a word of the shell with this text.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

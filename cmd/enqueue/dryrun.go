package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/gotd/td/bin"

	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/internal/tljson"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/raw"
)

// dryLine is a call as it would leave, or what is wrong with it.
type dryLine struct {
	Method      string `json:"method"`
	Constructor string `json:"constructor,omitempty"` // 0x…
	// TL is the method alone, in hex. What is not known before the job runs is empty
	// or 0: peers, files, a random_id that was not given.
	TL    string    `json:"tl,omitempty"`
	Peers *[]string `json:"peers,omitempty"` // paths of those that have to be found
	Files []string  `json:"files,omitempty"` // paths of those that have to be uploaded
	Error *dryError `json:"error,omitempty"`
}

type dryError struct {
	Code    string `json:"code"`
	Path    string `json:"path"` // params.peer; "method"; "" is the line
	Message string `json:"message"`
}

// dryRun shows one call. It is JSON for people too.
func dryRun(out *cli.Out, inv *jobs.Invoke, allowed raw.Allowed) error {
	l, err := dry(inv, allowed)
	if err != nil {
		return explain(err, "")
	}
	return objectAlways(out, l)
}

func dry(inv *jobs.Invoke, allowed raw.Allowed) (dryLine, error) {
	req, err := raw.Read(inv, "", allowed)
	if err != nil {
		return dryLine{}, err
	}
	var b bin.Buffer
	if err := req.Body.Encode(&b); err != nil {
		return dryLine{}, fmt.Errorf("encode %s: %w", inv.Method, err)
	}
	paths := []string{}
	for _, p := range req.Peers {
		paths = append(paths, p.Path)
	}
	l := dryLine{Method: inv.Method, Constructor: hexID(binary.LittleEndian.Uint32(b.Buf)), TL: hex.EncodeToString(b.Buf), Peers: &paths}
	for _, f := range req.Files {
		l.Files = append(l.Files, f.At)
	}
	return l, nil
}

// dryLines shows a call for each line; empty lines do not count.
func dryLines(out *cli.Out, r io.Reader, allowed raw.Allowed) error {
	in := bufio.NewReaderSize(r, 64<<10)
	bad := false
	for n := 1; ; n++ {
		line, length, err := readLine(in)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read line %d of stdin: %w", n, err)
		}
		if strings.TrimSpace(line) != "" {
			l := dryLineOf(line, length, allowed)
			bad = bad || l.Error != nil
			if err := objectAlways(out, l); err != nil {
				return err
			}
		}
		if err != nil {
			break
		}
	}
	if bad {
		return cli.ErrFailed
	}
	return nil
}

// dryLineOf shows the call on a line of this length.
func dryLineOf(line string, length int, allowed raw.Allowed) dryLine {
	var call struct {
		Method string          `json:"method"`
		Params json.RawMessage `json:"params"`
	}
	if length > maxLine {
		return dryLine{Error: &dryError{tljson.CodeInvalidJSON, "", fmt.Sprintf("the line has %d bytes; at most %d are read", length, maxLine)}}
	}
	dec := json.NewDecoder(bytes.NewReader([]byte(line)))
	dec.DisallowUnknownFields()
	err := dec.Decode(&call)
	if err == nil && dec.InputOffset() < int64(len(strings.TrimRight(line, " \t\r"))) {
		err = errors.New("something follows the object")
	}
	if err != nil {
		return dryLine{Method: call.Method, Error: &dryError{tljson.CodeInvalidJSON, "", fmt.Sprintf(
			`wants an object {"method": …, "params": {…}}: %v`, err)}}
	}
	l, err := dry(&jobs.Invoke{Method: call.Method, Params: call.Params}, allowed)
	if err == nil {
		return l
	}
	e := &dryError{Code: "not_encodable", Message: err.Error()}
	var field *jobs.FieldError
	if errors.As(err, &field) {
		e = &dryError{field.Code, strings.TrimPrefix(field.Path, "invoke."), field.Message}
	}
	return dryLine{Method: call.Method, Error: e}
}

// objectAlways writes a line of JSON with and without --json.
func objectAlways(out *cli.Out, v any) error {
	lines := *out
	lines.JSON = true
	return lines.Object(v)
}

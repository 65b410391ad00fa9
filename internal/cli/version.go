package cli

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the release build: -ldflags "-X …/internal/cli.version=v1.2.3".
var version string

// Version says which program this is.
type Version struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"` // built from a tree with changes
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// ReadVersion reads what the linker and the go command left in the binary.
func ReadVersion() Version {
	v := Version{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if b, ok := debug.ReadBuildInfo(); ok {
		v.Version = cmp.Or(v.Version, b.Main.Version)
		for _, s := range b.Settings {
			switch s.Key {
			case "vcs.revision":
				v.Commit = s.Value
			case "vcs.modified":
				v.Modified = s.Value == "true"
			}
		}
	}
	v.Version = cmp.Or(v.Version, "(devel)")
	return v
}

func (v Version) String() string {
	s := v.Version
	if v.Commit != "" {
		s += fmt.Sprintf(" (commit %.12s", v.Commit)
		if v.Modified {
			s += ", modified"
		}
		s += ")"
	}
	return fmt.Sprintf("%s %s %s", s, v.Go, v.Platform)
}

func versionCommand(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  Args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := ReadVersion()
			if env.Out.JSON {
				return env.Out.Object(v)
			}
			return env.Out.Printf("%s %s\n", cmd.Root().Name(), v)
		},
	}
}

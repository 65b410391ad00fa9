package main

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/jobs/handlers"
)

// maxFile is what Telegram takes of an account with Premium: 8000 parts of 512 KiB.
// Source: core.telegram.org/api/files#uploading-files.
const maxFile = 4000 << 20

// fileFlags say which files raw calls may name.
type fileFlags struct {
	dir      string
	fetch    bool
	max      byteSize
	maxFetch byteSize
}

func (f *fileFlags) register(fs *pflag.FlagSet) {
	f.max, f.maxFetch = 2000<<20, 100<<20
	fs.StringVar(&f.dir, "files-dir", "", "`directory` below which jobs may name files by path (default: none)")
	fs.BoolVar(&f.fetch, "fetch-urls", false, "jobs may name files by URL on the public internet")
	fs.Var(&f.max, "max-file", "largest file that is sent; more than 2000MiB need Premium")
	fs.Var(&f.maxFetch, "max-fetch", "largest file behind a URL; it is copied to the temporary directory first")
}

// config checks the flags and adds them to the handlers' settings.
func (f *fileFlags) config(cfg *handlers.Config) error {
	if f.dir != "" {
		is, err := os.Stat(f.dir)
		if err == nil && !is.IsDir() {
			err = fmt.Errorf("stat %s: it is no directory", f.dir)
		}
		if err != nil {
			return cli.Usage("--files-dir: %w", err)
		}
	}
	if f.max < 1 || f.max > maxFile {
		return cli.Usage("--max-file has to be 1 to %s", byteSize(maxFile))
	}
	if f.maxFetch < 1 {
		return cli.Usage("--max-fetch has to be 1 or more")
	}
	cfg.FilesDir, cfg.FetchURLs = f.dir, f.fetch
	cfg.MaxFile, cfg.MaxFetch = int64(f.max), int64(f.maxFetch)
	return nil
}

// byteSize is a number of bytes as a flag: 1000, 512KiB, 100MiB, 2GiB.
type byteSize int64

var _ pflag.Value = (*byteSize)(nil)

// byteUnits are the units, the largest first.
var byteUnits = []struct {
	name  string
	shift int
}{{"GiB", 30}, {"MiB", 20}, {"KiB", 10}}

// String is the size in the largest unit that has no rest; Set reads it.
func (b byteSize) String() string {
	for _, u := range byteUnits {
		if b != 0 && b%(1<<u.shift) == 0 {
			return strconv.FormatInt(int64(b>>u.shift), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// Set implements pflag.Value.
func (b *byteSize) Set(text string) error {
	shift := 0
	for _, u := range byteUnits {
		if digits, ok := strings.CutSuffix(text, u.name); ok {
			text, shift = digits, u.shift
			break
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64>>shift {
		return fmt.Errorf("it is no size; give one like 100MiB")
	}
	*b = byteSize(n << shift)
	return nil
}

// Type implements pflag.Value.
func (b *byteSize) Type() string { return "size" }

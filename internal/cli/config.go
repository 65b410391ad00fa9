package cli

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const envPrefix = "SWITCHBOARD_"

// EnvName is the environment variable of a flag: --telegram.api-id is
// SWITCHBOARD_TELEGRAM_API_ID. An empty variable counts as not set.
func EnvName(flag string) string {
	return envPrefix + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(flag))
}

// configure sets every flag of cmd that was not given from the environment, or
// else from the file. path is the file that --config names.
func configure(cmd *cobra.Command, path string, getenv func(string) string) error {
	environment, err := readEnv(cmd.Flags(), getenv)
	if err != nil {
		return fmt.Errorf("read the environment: %w", err)
	}
	if path == "" {
		path = environment.String("config")
	}
	settings, err := readFile(path, cmd.Root())
	if err != nil {
		return err
	}
	var bad error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if bad != nil || f.Changed || !configurable(f.Name) {
			return
		}
		if v := environment.String(f.Name); v != "" {
			bad = setText(f, v, EnvName(f.Name))
		} else if v, ok := settings[f.Name]; ok {
			bad = setValue(f, v, path)
		}
	})
	return bad
}

func configurable(flag string) bool { return flag != "help" && flag != "version" }

// readEnv reads the variables of the flags, keyed by flag.
func readEnv(flags *pflag.FlagSet, getenv func(string) string) (*koanf.Koanf, error) {
	var vars []string
	names := map[string]string{}
	flags.VisitAll(func(f *pflag.Flag) {
		name := EnvName(f.Name)
		if v := getenv(name); v != "" && configurable(f.Name) {
			vars, names[name] = append(vars, name+"="+v), f.Name
		}
	})
	ko := koanf.New(".")
	err := ko.Load(env.Provider("", env.Opt{
		Prefix:        envPrefix,
		EnvironFunc:   func() []string { return vars },
		TransformFunc: func(name, v string) (string, any) { return names[name], v },
	}), nil)
	return ko, err
}

// readFile reads a YAML file, keyed by flag. A file is shared by all commands
// of a program, so any of their flags may be in it, and nothing else.
func readFile(path string, root *cobra.Command) (map[string]any, error) {
	if path == "" {
		return nil, nil
	}
	ko := koanf.New(".")
	if err := ko.Load(file.Provider(path), yaml.Parser()); err != nil {
		var pathErr *fs.PathError
		if errors.As(err, &pathErr) {
			return nil, Usage("--config %s: %w", path, pathErr.Err)
		}
		return nil, Usage("--config %s: the file is not YAML with flags as keys: %w", path, err)
	}
	known := map[string]*pflag.Flag{}
	allFlags(root, func(f *pflag.Flag) { known[f.Name] = f })
	out := map[string]any{}
	for _, key := range ko.Keys() {
		if f := known[key]; f != nil && configurable(key) && key != "config" {
			out[key] = ko.Get(key)
			continue
		}
		// telegram.dc: {2: "host:port"} reads as --telegram.dc 2=host:port.
		parent, item, _ := cutLast(key, ".")
		if f := known[parent]; f != nil && isList(f) {
			list, _ := out[parent].([]any)
			out[parent] = append(list, fmt.Sprintf("%s=%v", item, ko.Get(key)))
			continue
		}
		return nil, Usage("%s: no flag is called %q", path, key)
	}
	return out, nil
}

func allFlags(cmd *cobra.Command, do func(*pflag.Flag)) {
	cmd.Flags().VisitAll(do)
	cmd.PersistentFlags().VisitAll(do)
	for _, sub := range cmd.Commands() {
		allFlags(sub, do)
	}
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func isList(f *pflag.Flag) bool {
	_, ok := f.Value.(pflag.SliceValue)
	return ok || strings.HasPrefix(f.Value.Type(), "stringTo")
}

// setText sets a flag from the environment. A list is separated by commas.
func setText(f *pflag.Flag, v, source string) error {
	if list, ok := f.Value.(pflag.SliceValue); ok {
		items, err := csv.NewReader(strings.NewReader(v)).Read()
		if err == nil {
			err = list.Replace(items)
		}
		if err != nil {
			return badValue(f, source, v, err)
		}
	} else if err := f.Value.Set(v); err != nil {
		return badValue(f, source, v, err)
	}
	f.Changed = true
	return nil
}

// setValue sets a flag from a value of the file.
func setValue(f *pflag.Flag, v any, path string) error {
	source := path + ": " + f.Name
	items, isItems := v.([]any)
	if isItems && !isList(f) {
		return Usage("%s takes one value, not a list", source)
	}
	if !isItems {
		items = []any{v}
	}
	var texts []string
	for _, item := range items {
		text, err := scalar(f, item)
		if err != nil {
			return Usage("%s %w", source, err)
		}
		texts = append(texts, text)
	}
	if list, ok := f.Value.(pflag.SliceValue); ok {
		if err := list.Replace(texts); err != nil {
			return badValue(f, source, strings.Join(texts, ","), err)
		}
	} else {
		for _, text := range texts {
			if err := f.Value.Set(text); err != nil {
				return badValue(f, source, text, err)
			}
		}
	}
	f.Changed = true
	return nil
}

// scalar is a YAML value as a flag takes it. YAML reads 0042, +49… and 1e3 as
// numbers and dates as times, so text that looks like one has to be quoted.
func scalar(f *pflag.Flag, v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case bool:
		return fmt.Sprint(v), nil
	case nil:
		return "", errors.New("has no value")
	case int, int64, uint64:
		if numeric(f) {
			return fmt.Sprint(v), nil
		}
	case float64:
		if strings.HasPrefix(f.Value.Type(), "float") {
			return fmt.Sprint(v), nil
		}
	case map[string]any, []any:
		return "", errors.New("takes one value")
	}
	return "", errors.New("takes text; write it in quotes")
}

func numeric(f *pflag.Flag) bool {
	t := f.Value.Type()
	for _, prefix := range []string{"int", "uint", "float", "count"} {
		if strings.HasPrefix(t, prefix) {
			return true
		}
	}
	return false
}

// badValue is a usage error in one sentence: where, what, and what would do.
func badValue(f *pflag.Flag, source, v string, err error) error {
	const longest = 64
	if len(v) > longest {
		v = v[:longest] + "…"
	}
	return Usage("%s=%s: %s", source, shown(v), wants(f.Value.Type(), err))
}

func wants(flagType string, err error) string {
	switch {
	case strings.HasPrefix(flagType, "int"), strings.HasPrefix(flagType, "uint"), flagType == "count":
		return "give a whole number"
	case strings.HasPrefix(flagType, "float"):
		return "give a number"
	case strings.HasPrefix(flagType, "bool"):
		return "give true or false"
	case strings.HasPrefix(flagType, "duration"):
		return "give a duration such as 30s, 5m or 1h30m"
	}
	return err.Error()
}

// flagError puts an error of the command line in the same words.
func flagError(err error) error {
	var value *pflag.InvalidValueError
	var needs *pflag.ValueRequiredError
	var unknown *pflag.NotExistError
	switch {
	case errors.As(err, &value):
		return badValue(value.GetFlag(), "--"+value.GetFlag().Name, value.GetValue(), errors.Unwrap(value))
	case errors.As(err, &needs):
		return Usage("--%s needs a value", needs.GetFlag().Name)
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "":
		return Usage("there is no flag --%s", unknown.GetSpecifiedName())
	}
	return Usage("%w", err)
}

// choice is a flag with a few allowed values.
type choice struct {
	v       *string
	allowed []string
}

// ChoiceVar defines a flag that takes one of a few values.
func ChoiceVar(flags *pflag.FlagSet, p *string, name, value, usage string, allowed ...string) {
	*p = value
	flags.Var(&choice{p, allowed}, name, usage+": "+strings.Join(allowed, ", "))
}

func (c *choice) String() string {
	if c.v == nil {
		return ""
	}
	return *c.v
}

func (c *choice) Type() string { return "choice" }

func (c *choice) Set(s string) error {
	if !slices.Contains(c.allowed, s) {
		return fmt.Errorf("give one of %s", strings.Join(c.allowed, ", "))
	}
	*c.v = s
	return nil
}

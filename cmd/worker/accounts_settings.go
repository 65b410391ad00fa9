package main

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/cli"
)

// settingsFlags are an account's own settings, for the commands that make one and the
// one that changes them.
type settingsFlags struct {
	proxy, proxyFile string
	labels           []string
	device           accounts.Device
	apiID            int
	apiHashFile      string

	read *settingsRead // by the first apply
}

// settingsRead is what the flags of files and the proxy say.
type settingsRead struct {
	proxy   accounts.Proxy
	apiHash accounts.APIHash
}

func (f *settingsFlags) register(fs *pflag.FlagSet) {
	fs.StringVar(&f.proxy, "proxy", "", "`URL` of the proxy to connect through: socks5://host:port, http://host:port or mtproxy://secret@host:port;\none with a password or secret in "+cli.EnvName("proxy")+" or --proxy-file")
	fs.StringVar(&f.proxyFile, "proxy-file", "", "`file` with that URL")
	fs.StringArrayVar(&f.labels, "label", nil, "`key=value`; may be repeated")
	fs.IntVar(&f.apiID, "api-id", 0, "`id` of an application of the account's own (default: that of the worker)")
	fs.StringVar(&f.apiHashFile, "api-hash-file", "", "`file` with the hash of --api-id, for logins")
	fs.StringVar(&f.device.Model, "device-model", "", "what Telegram shows as the device")
	fs.StringVar(&f.device.SystemVersion, "system-version", "", "what Telegram shows as the operating system")
	fs.StringVar(&f.device.AppVersion, "app-version", "", "what Telegram shows as the application's version")
	fs.StringVar(&f.device.SystemLangCode, "system-lang-code", "", "language of the operating system")
	fs.StringVar(&f.device.LangCode, "lang-code", "", "language of the application")
}

// args is cli.Args that refuses a proxy's password on the command line. Flags are taken
// from the environment and the file later.
func (f *settingsFlags) args(args cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		if p, err := accounts.ParseProxy(f.proxy); cmd.Flags().Changed("proxy") && err == nil && p.HasSecret() {
			return cli.Usage("--proxy has a password or secret, and arguments can be read by everybody on this machine; put the URL into %s, or into a file for --proxy-file", cli.EnvName("proxy"))
		}
		return args(cmd, given)
	}
}

// files reads each file once: it may be a pipe.
func (f *settingsFlags) files() (*settingsRead, error) {
	if f.read != nil {
		return f.read, nil
	}
	if f.proxy != "" && f.proxyFile != "" {
		return nil, cli.Usage("give --proxy or --proxy-file, not both")
	}
	var (
		r    settingsRead
		err  error
		text = f.proxy
		flag = "--proxy"
	)
	if f.proxyFile != "" {
		flag = "--proxy-file"
		if text, err = readSecret(f.proxyFile); err != nil {
			return nil, cli.Usage("%s: %w", flag, err)
		}
	}
	if r.proxy, err = accounts.ParseProxy(text); err != nil {
		return nil, cli.Usage("%s: %w", flag, err)
	}
	if f.apiHashFile != "" {
		hash, err := readSecret(f.apiHashFile)
		if err != nil {
			return nil, cli.Usage("--api-hash-file: %w", err)
		}
		r.apiHash = accounts.APIHash(hash)
	}
	f.read = &r
	return f.read, nil
}

// apply puts into an account what the flags say. What they do not say stays, and so do
// labels with other keys.
func (f *settingsFlags) apply(a *accounts.Account) error {
	read, err := f.files()
	if err != nil {
		return err
	}
	a.Proxy = cmp.Or(read.proxy, a.Proxy)
	labels, err := accounts.ParseLabels(f.labels)
	if err != nil {
		return cli.Usage("--label: %w", err)
	}
	if len(labels) > 0 {
		a.Labels = maps.Clone(a.Labels)
		if a.Labels == nil {
			a.Labels = map[string]string{}
		}
		maps.Copy(a.Labels, labels)
	}
	switch {
	case f.apiID < 0:
		return cli.Usage("--api-id=%d: the id of an application is 1 or more; get one at my.telegram.org", f.apiID)
	case f.apiHashFile != "" && f.apiID == 0 && a.APIID == 0:
		return cli.Usage("--api-hash-file goes with --api-id")
	case f.apiID != 0 && f.apiID != a.APIID:
		a.APIID, a.APIHash = f.apiID, ""
	}
	a.APIHash = cmp.Or(read.apiHash, a.APIHash)
	a.Device = f.device.Or(a.Device)
	return nil
}

// fresh is what a new account has besides.
func fresh(a *accounts.Account) {
	a.Device = a.Device.Or(accounts.DefaultDevice(cli.ReadVersion().Version))
}

// changed names the settings that differ, and tells whether a connection has to be made
// anew for them. It shows no value that may be secret.
func changed(was, is accounts.Account) (names []string, connect bool) {
	if was.Proxy != is.Proxy {
		names, connect = append(names, "proxy "+cmp.Or(is.Proxy.String(), "none")), true
	}
	if was.APIID != is.APIID || was.APIHash != is.APIHash {
		names, connect = append(names, "application"), connect || was.APIID != is.APIID
	}
	if was.Device != is.Device {
		names, connect = append(names, "device"), true
	}
	if !maps.Equal(was.Labels, is.Labels) {
		names = append(names, "labels "+cmp.Or(accounts.Labels(is.Labels).String(), "none"))
	}
	return names, connect
}

// removeLabels takes labels away by their keys.
func removeLabels(a *accounts.Account, keys []string) error {
	a.Labels = maps.Clone(a.Labels)
	for _, k := range keys {
		if _, ok := a.Labels[k]; !ok {
			have := slices.Sorted(maps.Keys(a.Labels))
			return cli.Usage("--no-label=%s: the account has no such label; it has %s", k, cmp.Or(strings.Join(have, ", "), "none"))
		}
		delete(a.Labels, k)
	}
	return nil
}

// deviceText is a device in one line, as Telegram shows it.
func deviceText(d accounts.Device) string {
	parts := []string{d.Model, d.SystemVersion, d.AppVersion, d.LangCode}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ", ")
}

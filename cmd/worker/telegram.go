package main

import (
	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/accounts/login"
	"github.com/tgswitchboard/switchboard/internal/cli"
)

// telegramFlags say how a command that makes or looks at a session reaches Telegram. The
// names are those of `worker run`, so that one environment or file is good for both.
type telegramFlags struct {
	apiID      int
	apiHash    string
	hashFile   string
	dcs        []string
	publicKeys []string
}

// apiHashFlag is for the environment and the file of --config: see refuseArguments.
const apiHashFlag = "telegram.api-hash"

func (f *telegramFlags) register(cmd *cobra.Command) {
	f.registerServers(cmd)
	fs := cmd.Flags()
	fs.StringVar(&f.apiHash, apiHashFlag, "", "the application's hash; in "+cli.EnvName(apiHashFlag)+" or the file of --config,\nnot as an argument")
	fs.StringVar(&f.hashFile, apiHashFlag+"-file", "", "`file` with the application's hash")
}

// registerServers is register for commands that use sessions which exist: they need no
// hash.
func (f *telegramFlags) registerServers(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.IntVar(&f.apiID, "telegram.api-id", 0, "the application's id, from my.telegram.org")
	fs.StringArrayVar(&f.dcs, "telegram.dc", nil, "`2=HOST:PORT` is data center 2; may be repeated. With it no other server is dialled")
	fs.StringArrayVar(&f.publicKeys, "telegram.public-key", nil, "`file` with the servers' RSA public key in PEM (default: Telegram's); may be repeated")
}

// config is how to reach Telegram.
func (f *telegramFlags) config(env *cli.Env) (login.Config, error) {
	cfg := login.Config{APIID: f.apiID, APIHash: f.apiHash, Log: env.Log}
	if f.apiID <= 0 {
		return cfg, cli.Usage("--telegram.api-id has to be the id of your application; get one at my.telegram.org")
	}
	var err error
	if cfg.DCs, err = parseDCs(f.dcs); err != nil {
		return cfg, cli.Usage("--telegram.dc: %w", err)
	}
	for _, file := range f.publicKeys {
		keys, err := readPublicKeys(file)
		if err != nil {
			return cfg, cli.Usage("--telegram.public-key %s: %w", file, err)
		}
		cfg.PublicKeys = append(cfg.PublicKeys, keys...)
	}
	if f.hashFile != "" {
		if cfg.APIHash, err = readSecret(f.hashFile); err != nil {
			return cfg, cli.Usage("--%s-file: %w", apiHashFlag, err)
		}
	}
	return cfg, nil
}

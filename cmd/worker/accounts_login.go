package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/login"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/cli"
)

// Where secrets of a login may be, beside a prompt and a file.
const (
	passwordEnv = "SWITCHBOARD_PASSWORD_2FA"
	tokenEnv    = "SWITCHBOARD_BOT_TOKEN"
)

// loginFlags are those of `accounts login`.
type loginFlags struct {
	database databaseFlag
	key      keyFlags
	telegram telegramFlags

	phone        string
	qr, bot      bool
	passwordFile string
	tokenFile    string
	settings     settingsFlags
	second       bool
	account      accounts.Account // a new one
}

func accountsLogin(env *cli.Env) *cobra.Command {
	var f loginFlags
	cmd := &cobra.Command{
		Use:   "login NAME",
		Short: "Log an account in: by phone code, QR code or a bot's token",
		Long: `Log an account in and store its session sealed, as 'accounts add' does. An account
that needs a login (status needs_login) gets a new session; jobs that wait go on.

What is missing is asked for: the phone number, the code ('resend' has it sent in
another way), the 2FA password. Where stdin is no terminal its lines are the answers,
in that order. Secrets are no arguments: the password may be in ` + passwordEnv + ` or
the file of --password-file, a bot's token in ` + tokenEnv + ` or --bot-token-file.

Nobody is signed up: an account is registered in an official app.`,
		Example: `  worker accounts login alice --phone +15550001234
  worker accounts login bob --qr
  SWITCHBOARD_BOT_TOKEN=… worker accounts login news --bot`,
		Args: f.settings.args(refuseArguments(cli.Args("NAME"), apiHashFlag)),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := accounts.ParseID(args[0])
			if err != nil {
				return cli.Usage("%w", err)
			}
			f.account.ID = id
			return f.run(cmd.Context(), env)
		},
	}
	f.database.register(cmd)
	f.telegram.register(cmd)
	fs := cmd.Flags()
	f.key.register(fs)
	fs.StringVar(&f.phone, "phone", "", "phone `number` with the country's code (default: it is asked for)")
	fs.BoolVar(&f.qr, "qr", false, "show a QR code, to be scanned in an official app: Settings > Devices > Link Desktop Device")
	fs.BoolVar(&f.bot, "bot", false, "log a bot in with its token")
	fs.StringVar(&f.passwordFile, "password-file", "", "`file` with the account's 2FA password")
	fs.StringVar(&f.tokenFile, "bot-token-file", "", "`file` with the bot's token")
	f.settings.register(fs)
	fs.BoolVar(&f.second, "second-session", false, "log in a user who has an account here already: two accounts then share that user's limits")
	return cmd
}

// check looks at the flags alone.
func (f *loginFlags) check(env *cli.Env) (err error) {
	switch {
	case f.qr && f.bot, f.qr && f.phone != "", f.bot && f.phone != "":
		return cli.Usage("--phone, --qr and --bot are three ways to log in; give one")
	case f.qr && !cli.IsTerminal(env.Stderr):
		return cli.Usage("--qr draws on a terminal, and stderr is none; log in with --phone")
	case f.bot && f.passwordFile != "", !f.bot && f.tokenFile != "":
		return cli.Usage("--password-file is for users, --bot-token-file for --bot")
	}
	if err := f.settings.apply(&f.account); err != nil {
		return err
	}
	fresh(&f.account)
	return nil
}

func (f *loginFlags) run(ctx context.Context, env *cli.Env) error {
	if err := f.check(env); err != nil {
		return err
	}
	cfg, err := f.telegram.config(env)
	if err != nil {
		return err
	}
	store, keys, err := openSealed(ctx, env, &f.database, &f.key)
	if err != nil {
		return err
	}
	defer store.Close()
	origin := db.Origin{Told: "logged in", SecondSession: f.second}
	registry := accounts.NewRegistry(store.Accounts().By(cli.Operator()).From(origin), keys)
	if err := registry.CheckKey(ctx); err != nil {
		return err // one installation, one key
	}
	a, isNew, err := f.subject(ctx, registry)
	if err != nil {
		return err
	}
	cfg = as(cfg, a)
	ask := newLoginPrompt(env, f.phone)
	if cfg.APIHash == "" {
		if cfg.APIHash, err = ask.secret(ctx, "Hash of the application (api_hash, from my.telegram.org): ", cli.EnvName(apiHashFlag), apiHashFlag+"-file"); err != nil {
			return err
		}
	}
	if ask.password, err = givenSecret(env, passwordEnv, "password-file", f.passwordFile); err != nil {
		return err
	}
	self, s, err := f.logIn(ctx, env, cfg, ask)
	if err != nil {
		return loginFailed(ctx, a.ID, err)
	}
	ask.Say(fmt.Sprintf("Logged in as %s, user %d.", self.Name, self.UserID))

	// The session exists, so it is stored or logged out even if somebody interrupts now.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	stored, err := keep(ctx, registry, a, isNew, self, s)
	if err == nil {
		return printAccount(env, view(stored))
	}
	if lerr := login.LogOut(ctx, cfg, s); lerr != nil {
		return fmt.Errorf("%w; the new session could not be logged out again (%w): end it in Settings > Devices of the account", reached(err), lerr)
	}
	return fmt.Errorf("%w; the new session was logged out again", reached(err))
}

// subject is the account to log in: a new one, or one that needs it, with its own proxy
// and device.
func (f *loginFlags) subject(ctx context.Context, registry *accounts.Registry) (a accounts.Account, isNew bool, err error) {
	a, err = registry.Account(ctx, f.account.ID)
	switch {
	case errors.Is(err, accounts.ErrNotFound):
		return f.account, true, nil
	case err != nil:
		return a, false, err
	case a.Status != accounts.NeedsLogin:
		return a, false, fmt.Errorf("account %s is %s, so it has a session already; take another name, or log it in once it is needs_login", a.ID, a.Status)
	case a.Kind == accounts.Bot && !f.bot:
		return a, false, cli.Usage("account %s is a bot; log it in with --bot", a.ID)
	case a.Kind == accounts.User && f.bot:
		return a, false, cli.Usage("account %s is a user; --bot is for bots", a.ID)
	case f.account.Proxy != "" && f.account.Proxy != a.Proxy:
		return a, false, cli.Usage("--proxy is for a new account; %s has its own", a.ID)
	}
	return a, false, nil
}

func (f *loginFlags) logIn(ctx context.Context, env *cli.Env, cfg login.Config, ask *loginPrompt) (login.Self, accounts.Session, error) {
	switch {
	case f.qr:
		return login.QR(ctx, cfg, ask)
	case f.bot:
		token, err := givenSecret(env, tokenEnv, "bot-token-file", f.tokenFile)
		if err == nil && token == "" {
			token, err = ask.secret(ctx, "Token of the bot, from @BotFather: ", tokenEnv, "bot-token-file")
		}
		if err != nil {
			return login.Self{}, accounts.Session{}, err
		}
		return login.Bot(ctx, cfg, token)
	}
	return login.Phone(ctx, cfg, ask)
}

// keep stores what a login made.
func keep(ctx context.Context, registry *accounts.Registry, a accounts.Account, isNew bool, self login.Self, s accounts.Session) (accounts.Account, error) {
	if isNew {
		a.Kind, a.UserID, a.DC = self.Kind(), self.UserID, s.DC
		added, err := registry.Add(ctx, a, s)
		if err != nil {
			err = refusedFor(err)
		}
		return added, err
	}
	if self.Kind() != a.Kind {
		return a, fmt.Errorf("account %s is a %s, and the session that of a %s", a.ID, a.Kind, self.Kind())
	}
	after, err := registry.LogIn(ctx, a.ID, self.UserID, s)
	if errors.Is(err, accounts.ErrOtherUser) {
		return a, fmt.Errorf("account %s is user %d, and the session that of user %d: %w", a.ID, a.UserID, self.UserID, accounts.ErrOtherUser)
	}
	return after, err
}

// loginFailed is the error of a login; nothing was stored.
func loginFailed(ctx context.Context, id accounts.ID, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("account %s was not logged in: %w", id, err)
}

// givenSecret is one from a variable or a file; "" if it is in neither.
func givenSecret(env *cli.Env, variable, flag, file string) (string, error) {
	if file == "" {
		return env.Getenv(variable), nil
	}
	text, err := readSecret(file)
	if err != nil {
		return "", cli.Usage("--%s: %w", flag, err)
	}
	return text, nil
}

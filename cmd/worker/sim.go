package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

func simCommand(env *cli.Env) *cobra.Command {
	var (
		listen, keyFile, control string
		rtt                      time.Duration
		people                   int
		siblings                 []string
	)
	cmd := &cobra.Command{
		Use:   "sim --listen HOST:PORT --key FILE",
		Short: "Run the simulated Telegram alone",
		Long: `Run a simulated Telegram that speaks MTProto. Clients need its address and its
public key, which is in FILE.pub.

With --control it answers over HTTP: GET /record is what it was asked, POST
/accounts makes an account with a session, POST /faults makes it fail on purpose.`,
		Example: `  worker sim --listen 127.0.0.1:7443 --key sim.pem --control 127.0.0.1:7380
  curl -X POST 127.0.0.1:7380/accounts -d '{"first_name":"Ann","username":"ann"}'`,
		Args: cli.Args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			key, err := simKey(keyFile)
			if err != nil {
				return cli.Usage("--key %s: %w", keyFile, err)
			}
			if people < 0 || rtt < 0 {
				return cli.Usage("--accounts and --rtt cannot be negative")
			}
			others, err := parseDCs(siblings)
			if err != nil {
				return cli.Usage("--sibling: %w", err)
			}
			sim, err := tgsim.Listen(tgsim.Config{Listen: listen, Key: key, RTT: rtt, Log: env.Log})
			if err != nil {
				return err
			}
			for i := range people {
				name := fmt.Sprintf("user%d", i+1)
				if _, err := sim.AddUser(tgsim.User{FirstName: name, Username: name}); err != nil {
					return err
				}
			}
			g, ctx := errgroup.WithContext(cmd.Context())
			for id, addr := range others {
				sib, err := sim.Sibling(tgsim.Config{Listen: addr, DC: id, RTT: rtt, Log: env.Log})
				if err != nil {
					return err
				}
				g.Go(func() error { return sib.Run(ctx) })
			}
			started := map[string]any{"listen": sim.Addr(), "dc": sim.DC(), "public_key": keyFile + ".pub"}
			if control != "" {
				ln, err := listenHTTP("control", control)
				if err != nil {
					return err
				}
				started["control"] = "http://" + ln.Addr().String()
				g.Go(func() error { return serveHTTP(ctx, ln, sim.Handler()) })
			}
			g.Go(func() error { return sim.Run(ctx) })
			if err := env.Out.Object(started); err != nil {
				return err
			}
			if err := env.Out.Printf("a simulated Telegram listens on %s as data center %d; its public key is in %s.pub\n", sim.Addr(), sim.DC(), keyFile); err != nil {
				return err
			}
			return g.Wait()
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&listen, "listen", "127.0.0.1:7443", "`address` for MTProto")
	fs.StringVar(&keyFile, "key", "", "`file` with the server's RSA key in PEM; made, with FILE.pub, if it does not exist")
	fs.StringVar(&control, "control", "", "`address` of the record and the faults, over HTTP (default: none)")
	fs.DurationVar(&rtt, "rtt", 0, "round-trip time added to every answer")
	fs.IntVar(&people, "accounts", 0, "users to begin with: user1, user2, …")
	fs.StringArrayVar(&siblings, "sibling", nil, "`4=HOST:PORT` is data center 4 of the same world; may be repeated")
	_ = cmd.MarkFlagRequired("key")
	return cmd
}

// simKey reads the simulator's RSA key, and makes it and its public half if
// there is none.
func simKey(file string) (*rsa.PrivateKey, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return newSimKey(file)
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "RSA PRIVATE KEY" {
		return nil, errors.New("it holds no RSA PRIVATE KEY in PEM")
	}
	return x509.ParsePKCS1PrivateKey(block.Bytes)
}

func newSimKey(file string) (*rsa.PrivateKey, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	private := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	public := pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&key.PublicKey)})
	if err := cli.WriteSecret(file, private); err != nil {
		return nil, err
	}
	return key, os.WriteFile(file+".pub", public, 0o644)
}

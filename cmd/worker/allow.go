package main

import (
	"github.com/spf13/pflag"

	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/internal/tljson"
	"github.com/tgswitchboard/switchboard/jobs/raw"
)

// allowVar adds --allow-method.
func allowVar(fs *pflag.FlagSet, allowed *raw.Allowed) {
	fs.StringSliceVar((*[]string)(allowed), "allow-method", nil, "`method` that raw calls may name although it is refused otherwise, as auth.logOut; may be repeated")
}

// checkAllowed refuses a name that allows nothing: it is misspelt.
func checkAllowed(allowed raw.Allowed) error {
	for _, method := range allowed {
		if _, restricted := tljson.Restricted(method); !restricted {
			return cli.Usage("--allow-method %q: there is no such method that would be refused", method)
		}
	}
	return nil
}

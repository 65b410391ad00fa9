package kms

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tink-crypto/tink-go/v2/tink"
)

// timeLimit is for one question to a KMS.
const timeLimit = 15 * time.Second

// Open returns the key of a URI. It connects to nothing. The environment has what the
// KMS's own tools take from it: VAULT_TOKEN, VAULT_NAMESPACE, VAULT_CACERT; AWS's SDK
// reads the process's own.
func Open(uri string, getenv func(string) string) (tink.AEADWithContext, error) {
	scheme, _, _ := strings.Cut(uri, "://")
	switch scheme {
	case "hcvault":
		v, err := openVault(uri, getenv)
		if err != nil {
			return nil, err
		}
		return v, nil
	case "aws-kms":
		a, err := openAWS(uri)
		if err != nil {
			return nil, err
		}
		return a, nil
	}
	return nil, fmt.Errorf("keys of kind %.20q are not supported; %s", scheme, forms)
}

const forms = "give hcvault://host:8200/transit/keys/NAME or aws-kms://arn:aws:kms:REGION:ACCOUNT:key/ID"

// limited is ctx with the time limit.
func limited(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, timeLimit, fmt.Errorf("no answer within %v", timeLimit))
}

package kms

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/tink-crypto/tink-go/v2/tink"
)

// timeLimit is for one question to a KMS.
const timeLimit = 15 * time.Second

// Open returns the key of a URI. It connects to nothing. The environment has what the
// KMS's own tools take from it: VAULT_TOKEN, VAULT_NAMESPACE, VAULT_CACERT; AWS's SDK
// reads the process's own.
func Open(uri string, getenv func(string) string) (tink.AEADWithContext, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return nil, errors.New("the URI of the KMS's key cannot be read; " + forms)
	}
	switch u.Scheme {
	case "hcvault":
		return openVault(u, getenv)
	case "aws-kms":
		return openAWS(uri)
	}
	return nil, fmt.Errorf("keys of kind %.20q are not supported; %s", u.Scheme, forms)
}

const forms = "give hcvault://host:8200/transit/keys/NAME or aws-kms://arn:aws:kms:REGION:ACCOUNT:key/ID"

// limited is ctx with the time limit.
func limited(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, timeLimit, fmt.Errorf("no answer within %v", timeLimit))
}

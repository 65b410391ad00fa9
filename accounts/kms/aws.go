package kms

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// amazon is a key of AWS KMS. Its ciphertexts are those of Tink's client for it.
// Source: docs.aws.amazon.com/kms/latest/APIReference, Encrypt and Decrypt.
type amazon struct{ arn arn.ARN }

func openAWS(uri string) (amazon, error) {
	a, err := arn.Parse(strings.TrimPrefix(uri, "aws-kms://"))
	if err != nil || a.Service != "kms" || a.Region == "" || a.Resource == "" {
		return amazon{}, errors.New("the key of AWS KMS is aws-kms://arn:aws:kms:REGION:ACCOUNT:key/ID")
	}
	return amazon{a}, nil
}

// client has the credentials that AWS's own tools would use.
func (a amazon) client(ctx context.Context) (*kms.Client, error) {
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(a.arn.Region))
	if err != nil {
		return nil, fmt.Errorf("AWS's configuration: %w", err)
	}
	return kms.NewFromConfig(cfg), nil
}

// under is the encryption context.
func under(ad []byte) map[string]string {
	if len(ad) == 0 {
		return nil
	}
	return map[string]string{"associatedData": hex.EncodeToString(ad)}
}

// EncryptWithContext implements tink.AEADWithContext.
func (a amazon) EncryptWithContext(ctx context.Context, plain, ad []byte) ([]byte, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	client, err := a.client(ctx)
	if err != nil {
		return nil, err
	}
	id := a.arn.String()
	got, err := client.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: plain, EncryptionContext: under(ad)})
	if err != nil {
		return nil, err
	}
	return got.CiphertextBlob, nil
}

// DecryptWithContext implements tink.AEADWithContext.
func (a amazon) DecryptWithContext(ctx context.Context, sealed, ad []byte) ([]byte, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	client, err := a.client(ctx)
	if err != nil {
		return nil, err
	}
	id := a.arn.String()
	got, err := client.Decrypt(ctx, &kms.DecryptInput{KeyId: &id, CiphertextBlob: sealed, EncryptionContext: under(ad)})
	if err != nil {
		return nil, err
	}
	return got.Plaintext, nil
}

// Package kms encrypts and decrypts keysets with a key that stays in a key management
// system, named by a URI as Tink's own tools name it:
//
//	hcvault://vault.example:8200/transit/keys/NAME   HashiCorp Vault or OpenBao, transit engine
//	aws-kms://arn:aws:kms:REGION:ACCOUNT:key/ID      AWS KMS
//
// A program asks once, when it starts; what is sealed with the keyset never goes to the
// KMS. Nothing is asked again after a refusal beyond what AWS's SDK does. Files are those
// of Tink: tinkey can read and write them.
package kms

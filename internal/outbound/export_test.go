package outbound

import (
	"crypto/tls"
	"crypto/x509"
)

// Trust makes a client believe in one more certificate.
func Trust(c *Client, cert *x509.Certificate) {
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	c.http.Transport.(*guarded).next.TLSClientConfig = &tls.Config{RootCAs: roots}
}

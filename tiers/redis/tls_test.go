package redis

// TLS, with a real server and a certificate made here.

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// certificate writes a certificate for host that vouches for itself, and returns who trusts it.
func certificate(t *testing.T, host string) (pool *x509.CertPool, cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "fastopt test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	made := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed})
	pool.AppendCertsFromPEM(made)
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, data := range map[string][]byte{cert: made, key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return pool, cert, key
}

// encrypted starts a server that speaks TLS, and at plain does without.
func encrypted(t *testing.T, host string, more ...string) (url, plain string, trust *x509.CertPool) {
	t.Helper()
	trust, cert, key := certificate(t, host)
	port := strconv.Itoa(freePort(t))
	r := private(t, append([]string{"tls-port=" + port, "tls-cert-file=" + cert, "tls-key-file=" + key, "tls-ca-cert-file=" + cert}, more...)...)
	return "rediss://127.0.0.1:" + port, r.Addr(), trust
}

// trusting opens a cache as if the system trusted pool.
func trusting(t *testing.T, url string, pool *x509.CertPool) *Cache {
	t.Helper()
	set, err := Config{URL: url}.check()
	if err != nil {
		t.Fatal(err)
	}
	set.opt.TLSConfig.RootCAs = pool
	c := start(set)
	t.Cleanup(c.Close)
	return c
}

func TestAServerWithTLS(t *testing.T) {
	url, plain, trust := encrypted(t, "127.0.0.1", "tls-auth-clients=no")
	c, other := trusting(t, url, trust), open(t, "redis://"+plain)
	l := listen(t, c)
	at := l.after(t, 0, "Alive", kind(tiers.Alive))
	load(t, c, "x")
	put(t, other, value("x", 1, 1, `1`))
	at = l.after(t, at, "a push", changed("x"))
	if res := load(t, c, "x"); res.Err != nil || string(res.Data) != "1" {
		t.Error(res.Err)
	}
	operate(t, plain).do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	at = l.after(t, at, "Lost", kind(tiers.Lost))
	l.after(t, at, "Alive", kind(tiers.Alive))
}

func TestAServerThatCannotBeTrustedIsSetup(t *testing.T) {
	url, _, _ := encrypted(t, "127.0.0.1", "tls-auth-clients=no")
	renamed, _, trust := encrypted(t, "other.example", "tls-auth-clients=no")
	strict, _, trusted := encrypted(t, "127.0.0.1", "tls-auth-clients=yes")
	for _, k := range []struct {
		what, says string
		c          *Cache
	}{
		{"unknown authority", "certificate", open(t, url)},
		{"another name", "certificate", trusting(t, renamed, trust)},
		{"wants our certificate", "tls-auth-clients", trusting(t, strict, trusted)},
	} {
		eventually(t, k.what, func() bool { // the server's word may be lost with the connection it ends
			err := load(t, k.c, "x").Err
			return errors.Is(err, tiers.ErrSetup) && strings.Contains(err.Error(), k.says)
		})
	}
}

// A connection whose peer takes nothing more is cut at once, also if TLS has a
// goodbye to say, for which it would wait 5 s.
func TestACutWaitsForNoGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trust, cert, key := certificate(t, "127.0.0.1")
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		near, far := net.Pipe() // it has no room: what is not read is not taken
		defer far.Close()
		go tls.Server(far, &tls.Config{Certificates: []tls.Certificate{pair}, SessionTicketsDisabled: true}).Read(make([]byte, 1))
		e := newEar(tls.Client(near, &tls.Config{RootCAs: trust, ServerName: "127.0.0.1"}), 100*time.Millisecond)
		began := time.Now()
		err = e.await(func() error {
			if _, err := e.Write([]byte("x")); err != nil {
				return err
			}
			_, err := e.Read(make([]byte, 1))
			return err
		})
		if d := time.Since(began); err == nil || !e.cut.Load() || d != e.limit {
			t.Errorf("cut after %v: %v", d, err)
		}
	})
}

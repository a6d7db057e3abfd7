package redis

// What a user says about the server, checked before anything is dialed. No
// text made here repeats the URL, which may hold a password, or the key.

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/fastopt/fastopt-go/internal/envelope"
	"github.com/fastopt/fastopt-go/tiers"
)

// Config says which server to use. Only URL is needed.
type Config struct {
	// URL is redis://user:password@host:6379/0, or rediss:// for TLS with the
	// system's certificate authorities. User, password, port and database may
	// be left out. Parameters after '?' are refused.
	URL string

	// KeyPrefix begins every key. Two fleets with different prefixes share
	// nothing. Letters, digits, '.', '_' and '-'; not "lease". Default "fastopt".
	KeyPrefix string

	// Heartbeat is the time between two questions whether the connection
	// lives, 10 ms to 500 ms. Default 250 ms.
	Heartbeat time.Duration

	// MACKey seals entries and marks, so that who can write to the server and
	// has not the key can set no option. At least 16 bytes, better 32 random ones;
	// nil: entries carry a checksum, against accidents. See the package
	// documentation for what a seal does not stop. Open keeps a copy.
	MACKey []byte

	seal *envelope.Seal // made of MACKey by options; nil without one
}

// String tells the fields but URL and MACKey, of which it says whether they are set.
func (conf Config) String() string {
	set := func(is bool) string {
		if is {
			return "(set)"
		}
		return "(none)"
	}
	return fmt.Sprintf("redis.Config{URL:%s KeyPrefix:%q Heartbeat:%v MACKey:%s}",
		set(conf.URL != ""), conf.KeyPrefix, conf.Heartbeat, set(conf.MACKey != nil || conf.seal != nil))
}

// Format prints String for every verb of package fmt.
func (conf Config) Format(f fmt.State, _ rune) { fmt.Fprint(f, conf.String()) }

// Format prints the config of c alike, and nothing else.
func (c *Cache) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "redis.Cache{%v}", c.conf) }

// LogValue is String, for package slog.
func (conf Config) LogValue() slog.Value { return slog.StringValue(conf.String()) }

const (
	defaultPrefix    = "fastopt"
	defaultHeartbeat = 250 * time.Millisecond

	shortestKey = 16 // bytes

	// A heartbeat without an answer for so long ends the connection. With the
	// longest interval a silent server is noticed within a second.
	silence = 500 * time.Millisecond

	// dialTimeout bounds the connect, and again the first exchange on it.
	dialTimeout = 200 * time.Millisecond

	// maxCalls at once, each with one place in the ring of the connection: the
	// ring never fills, for a full one would block its callers beyond any deadline.
	maxCalls  = 256
	ringScale = 10 // 1,024 places
)

// options checks conf and returns it with defaults in place, and what the
// client needs to know. Errors are [tiers.ErrSetup].
func (conf Config) options() (Config, rueidis.ClientOption, error) {
	if conf.KeyPrefix == "" {
		conf.KeyPrefix = defaultPrefix
	}
	if conf.Heartbeat == 0 {
		conf.Heartbeat = defaultHeartbeat
	}
	opt, err := parseURL(conf.URL)
	switch {
	case err != nil:
	case strings.Trim(conf.KeyPrefix, prefixChars) != "":
		err = fmt.Errorf("a KeyPrefix holds other characters than letters, digits, '.', '_' and '-'")
	case conf.KeyPrefix == "lease":
		err = fmt.Errorf("the KeyPrefix \"lease\" is taken by the keys of leases")
	case conf.Heartbeat < 10*time.Millisecond || conf.Heartbeat > 500*time.Millisecond:
		err = fmt.Errorf("a Heartbeat of %v: allowed are 10ms to 500ms", conf.Heartbeat)
	case conf.MACKey != nil && len(conf.MACKey) < shortestKey:
		err = fmt.Errorf("a MACKey of %d bytes: it needs at least %d; leave it nil for none", len(conf.MACKey), shortestKey)
	}
	if err != nil {
		return conf, opt, fmt.Errorf("redis: %w: %w", tiers.ErrSetup, err)
	}
	if conf.MACKey != nil {
		conf.seal, conf.MACKey = envelope.NewSeal(conf.MACKey), nil
	}
	return conf, liveness(opt), nil
}

const prefixChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

// liveness sets what makes the client notice a dead server and never wait for
// one. With its defaults local copies went on for 11 s against a frozen server.
func liveness(opt rueidis.ClientOption) rueidis.ClientOption {
	opt.ClientName = "fastopt"
	opt.ClientSetInfo = rueidis.DisableClientSetInfo // needs a right that servers before 7.2 do not know
	opt.ForceSingleClient = true
	opt.PipelineMultiplex = -1 // one connection: with several, copies outlive the loss of one
	opt.BlockingPipeline = -1  // also for large batches
	opt.AlwaysPipelining = true
	opt.DisableRetry = true
	opt.Dialer = net.Dialer{Timeout: dialTimeout, KeepAlive: 300 * time.Millisecond}
	opt.ConnWriteTimeout = 300 * time.Millisecond
	opt.RingScaleEachConn = ringScale
	opt.ReadBufferEachConn = 1 << 16
	opt.WriteBufferEachConn = 1 << 16
	opt.CacheSizeEachConn = 16 << 20
	return opt
}

func parseURL(text string) (opt rueidis.ClientOption, err error) {
	if text == "" {
		return opt, fmt.Errorf("URL is empty; write redis://host:6379")
	}
	u, err := url.Parse(text)
	if err != nil { // its text repeats the URL
		return opt, fmt.Errorf("URL cannot be parsed; special characters in user and password are written as %%XX")
	}
	switch {
	case u.Scheme != "redis" && u.Scheme != "rediss":
		return opt, fmt.Errorf("URL does not begin with redis:// or rediss://")
	case u.Hostname() == "":
		return opt, fmt.Errorf("URL names no host")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return opt, fmt.Errorf("URL has parameters; none is supported")
	}
	port := u.Port()
	if port == "" {
		port = "6379"
	} else if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return opt, fmt.Errorf("URL has a port that is none")
	}
	if db := strings.Trim(u.Path, "/"); db != "" {
		n, err := strconv.ParseUint(db, 10, 16)
		if err != nil {
			return opt, fmt.Errorf("URL has a path that is no number of a database")
		}
		opt.SelectDB = int(n)
	}
	opt.InitAddress = []string{net.JoinHostPort(u.Hostname(), port)}
	opt.Username = u.User.Username()
	opt.Password, _ = u.User.Password()
	if opt.Username != "" && opt.Password == "" {
		return opt, fmt.Errorf("URL names a user without a password; redis://:password@host is the form without a user")
	}
	if u.Scheme == "rediss" {
		opt.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.Hostname()}
	}
	return opt, nil
}

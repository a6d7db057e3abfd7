package redis

// What a user says about the servers, checked before anything is dialed. No text
// made here repeats the key that seals entries.

import (
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/fastopt/fastopt-go/internal/envelope"
	"github.com/fastopt/fastopt-go/tiers"
)

// Config says which server to use. Only URL is needed.
type Config struct {
	// URL is one of
	//
	//	redis://user:password@host:6379/0                                one server
	//	redis://user:password@host:6379?addr=host2:6379&addr=host3:6379  a Cluster, by some of its nodes
	//	redis://user:password@host:6379?cluster=true                     a Cluster, by one address
	//	redis://user:password@host:26379/0?addr=host2:26379&master_set=name  the master of that name, by its Sentinels
	//	unix://user:password@/path/to/socket                             one server, on this machine
	//
	// or the same with rediss:// for TLS with the system's certificate
	// authorities; nothing switches the verification off. User, password, port
	// and database may be left out. They are those of the servers, not of
	// Sentinels.
	URL string

	// Plaintext says that a URL without TLS to another machine is meant: who
	// can read that network reads every option and the password. Without it such a
	// URL is refused, and so is a node that a cluster or a Sentinel names.
	Plaintext bool

	// SentinelUser and SentinelPassword are for Sentinels that ask for a
	// password. The user may be empty.
	SentinelUser, SentinelPassword string

	// KeyPrefix begins every key. Two fleets with different prefixes share
	// nothing. Letters, digits, '.', '_' and '-'; not "lease". Default "fastopt".
	KeyPrefix string

	// Heartbeat is the time between two questions whether a connection
	// lives, 10 ms to 500 ms. Default 250 ms.
	Heartbeat time.Duration

	// Poll is for a server or a proxy without CLIENT TRACKING: all names that were
	// loaded are read again at this interval, 100 ms to 1 s. 0, the default:
	// the server tells what has changed. See the package documentation for
	// what is promised then.
	Poll time.Duration

	// MACKey seals entries and marks, so that who can write to the server and
	// has not the key can set no option. At least 16 bytes, better 32 random ones;
	// nil: entries carry a checksum, against accidents. See the package
	// documentation for what a seal does not stop. Open keeps a copy.
	MACKey []byte

	seal *envelope.Seal // made of MACKey by check; nil without one
}

// String tells the fields but what is secret, of which it says whether it is set.
func (conf Config) String() string {
	set := func(is bool) string {
		if is {
			return "(set)"
		}
		return "(none)"
	}
	return fmt.Sprintf("redis.Config{URL:%s Plaintext:%v SentinelPassword:%s KeyPrefix:%q Heartbeat:%v Poll:%v MACKey:%s}",
		set(conf.URL != ""), conf.Plaintext, set(conf.SentinelPassword != ""), conf.KeyPrefix, conf.Heartbeat, conf.Poll,
		set(conf.MACKey != nil || conf.seal != nil))
}

// Format prints String for every verb of package fmt.
func (conf Config) Format(f fmt.State, _ rune) { fmt.Fprint(f, conf.String()) }

// Format prints the config of c alike, and nothing else.
func (c *Cache) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "redis.Cache{%v}", c.set.Config) }

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

	// maxCalls at once, each with few places in the ring of a connection: the
	// ring never fills, for a full one would block its callers beyond any deadline.
	maxCalls  = 256
	ringScale = 10 // 1,024 places
)

// A setup is a Config that was checked, and what follows from it. It is immutable.
type setup struct {
	Config // defaults in place
	place
	opt   rueidis.ClientOption // of each connection to a server
	track tracking             // how entries are read
}

// check returns what follows from conf. Errors are [tiers.ErrSetup].
func (conf Config) check() (*setup, error) {
	if conf.KeyPrefix == "" {
		conf.KeyPrefix = defaultPrefix
	}
	if conf.Heartbeat == 0 {
		conf.Heartbeat = defaultHeartbeat
	}
	p, opt, err := parseURL(conf.URL)
	switch {
	case err != nil:
	case p.network == "tcp" && opt.TLSConfig == nil && !conf.Plaintext && !all(p.addrs, loopback):
		err = errPlaintext
	case p.master == "" && conf.SentinelUser+conf.SentinelPassword != "":
		err = fmt.Errorf("SentinelUser or SentinelPassword without a URL of Sentinels; add ?master_set=name to URL")
	case conf.SentinelUser != "" && conf.SentinelPassword == "":
		err = fmt.Errorf("SentinelUser without SentinelPassword")
	case strings.Trim(conf.KeyPrefix, prefixChars) != "":
		err = fmt.Errorf("a KeyPrefix holds other characters than letters, digits, '.', '_' and '-'")
	case conf.KeyPrefix == "lease":
		err = fmt.Errorf("the KeyPrefix \"lease\" is taken by the keys of leases")
	case conf.Heartbeat < 10*time.Millisecond || conf.Heartbeat > 500*time.Millisecond:
		err = fmt.Errorf("a Heartbeat of %v: allowed are 10ms to 500ms", conf.Heartbeat)
	case conf.Poll != 0 && (conf.Poll < 100*time.Millisecond || conf.Poll > time.Second):
		err = fmt.Errorf("a Poll of %v: allowed are 0 and 100ms to 1s", conf.Poll)
	case conf.MACKey != nil && len(conf.MACKey) < shortestKey:
		err = fmt.Errorf("a MACKey of %d bytes: it needs at least %d; leave it nil for none", len(conf.MACKey), shortestKey)
	}
	if err != nil {
		return nil, fmt.Errorf("redis: %w: %w", tiers.ErrSetup, err)
	}
	if conf.MACKey != nil {
		conf.seal, conf.MACKey = envelope.NewSeal(conf.MACKey), nil
	}
	set := &setup{Config: conf, place: p, opt: liveness(opt), track: pushed{}}
	if conf.Poll > 0 {
		set.track = polled{}
	}
	return set, nil
}

func all(addrs []string, is func(string) bool) bool {
	return !slices.ContainsFunc(addrs, func(addr string) bool { return !is(addr) })
}

const prefixChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

var errPlaintext = fmt.Errorf("no TLS to another machine; write rediss:// in URL, or set Plaintext if that is meant")

// liveness sets what makes a client notice a dead server and never wait for
// one. With its defaults local copies went on for 11 s against a frozen server.
// The client's own heartbeats are off: ours notice silence sooner.
func liveness(opt rueidis.ClientOption) rueidis.ClientOption {
	opt.ClientName = "fastopt"
	opt.ClientSetInfo = rueidis.DisableClientSetInfo // needs a right that servers before 7.2 do not know
	opt.ForceSingleClient = true
	opt.PipelineMultiplex = -1 // one connection: with several, one may go deaf unnoticed
	opt.BlockingPipeline = -1  // also for large batches
	opt.AlwaysPipelining = true
	opt.DisableRetry = true
	opt.Dialer = net.Dialer{Timeout: dialTimeout, KeepAlive: -1}
	opt.ConnWriteTimeout = silence
	opt.RingScaleEachConn = ringScale
	opt.ReadBufferEachConn = 1 << 16
	opt.WriteBufferEachConn = 1 << 16
	return opt
}

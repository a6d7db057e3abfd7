package redis

// What the server and the network say, in the words of package tiers: either
// waiting may help (ErrUnavailable) or somebody has to act (ErrSetup).

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/redis/rueidis"

	"github.com/fastopt/fastopt-go/tiers"
)

var errClosed = fmt.Errorf("%w: the cache is closed", tiers.ErrUnavailable)

// remedies are for answers that waiting does not change, which are known by their
// beginning. The client cuts the "ERR " off that begins most others.
type remedies []struct{ answer, remedy string }

// setups are the answers of servers.
var setups = remedies{
	{"WRONGPASS", "check user and password in the URL"},
	{"NOAUTH", "put user and password into the URL"},
	{"NOPERM", grant},
	{"The user executing the script can't", grant},
	{"NOPROTO", needs},
	{"unknown command", needs},
	{"unknown subcommand", needs},
	{"Unknown subcommand", needs},
	{"AUTH", "check user and password in the URL"},
	{"invalid password", "check user and password in the URL"},
	{"DB index", "check the number of the database in the URL"},
	{"invalid DB index", "check the number of the database in the URL"},
	{"SELECT is not allowed", "leave the number of the database out of the URL"},
	{"MOVED", "the server is a node of a cluster: add ?cluster=true to URL"},
	{"This instance has cluster support disabled", "leave cluster and addr out of URL, or write master_set for Sentinels"},
}

// passing are the answers by which a server that knows how to track says that it
// cannot now.
var passing = []string{"BUSY ", "LOADING ", "MASTERDOWN ", "OOM "}

// ofSentinels are the answers of Sentinels, whose user and password are not
// those of the URL.
var ofSentinels = remedies{
	{"WRONGPASS", "check SentinelUser and SentinelPassword"},
	{"NOAUTH", "set SentinelPassword"},
	{"AUTH", "check SentinelUser and SentinelPassword"},
	{"invalid password", "check SentinelPassword"},
	{"NOPERM", grant},
	{"unknown command", "URL names a server and no Sentinel: leave master_set out"},
	{"No such master", "check master_set in URL"},
}

// A sentinelError is what a Sentinel said, or why it did not.
type sentinelError struct{ error }

const (
	grant = "grant the rights that the documentation of package redis lists"
	needs = "use Redis 6.2 or later with EVAL and CLIENT TRACKING allowed; without the latter set Poll"
)

// explain puts an error of the client into the words of package tiers. It
// never wraps what the client says, since a silent server gives "context
// deadline exceeded" there while the caller's context lives.
func explain(err error) error {
	known := setups
	if of, ok := err.(sentinelError); ok {
		known, err = ofSentinels, of.error
	}
	if errors.Is(err, errPlaintext) {
		return fmt.Errorf("%w: %w", tiers.ErrSetup, err)
	}
	if re, ok := rueidis.IsRedisErr(err); ok {
		return known.answered(re.Error())
	}
	if errors.Is(err, rueidis.ErrNoCache) {
		text, _, _ := strings.Cut(err.Error(), "\n")
		if slices.ContainsFunc(passing, func(answer string) bool { return strings.HasPrefix(text, answer) }) {
			return known.answered(text)
		}
		return fmt.Errorf("%w: no client tracking: %s (%s)", tiers.ErrSetup, safe(text), needs)
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return fmt.Errorf("%w: the server does not speak TLS (write redis:// or enable TLS)", tiers.ErrSetup)
	}
	if bad, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Errorf("%w: %v (use a certificate that the system trusts)", tiers.ErrSetup, bad)
	}
	if alert, ok := errors.AsType[*net.OpError](err); ok && alert.Op == "remote error" && strings.Contains(alert.Error(), "certificate") {
		return fmt.Errorf("%w: %v (a client has no certificate here; set tls-auth-clients of the server to no)", tiers.ErrSetup, alert)
	}
	if silent(err) {
		return fmt.Errorf("%w: no answer in time", tiers.ErrUnavailable)
	}
	return fmt.Errorf("%w: %v", tiers.ErrUnavailable, err)
}

// answered classes an error that the server sent.
func (known remedies) answered(text string) error {
	for _, s := range known {
		if strings.HasPrefix(text, s.answer) {
			return fmt.Errorf("%w: %s (%s)", tiers.ErrSetup, safe(text), s.remedy)
		}
	}
	return fmt.Errorf("%w: the server says %s", tiers.ErrUnavailable, safe(text))
}

// weightier returns which of two errors to tell: what a server said before what
// the network did, and else the later one.
func weightier(before, err error) error {
	if _, said := rueidis.IsRedisErr(before); said {
		return before
	}
	return err
}

// safe cuts the arguments off that a server repeats when it does not know a
// command: one of them is the value of an option.
func safe(text string) string {
	text, _, _ = strings.Cut(text, ", with args")
	if len(text) > 200 {
		text = text[:200] + "…"
	}
	return text
}

func silent(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

// ended is the error of a call whose context ended before the answer came.
func ended(ctx context.Context) error {
	return fmt.Errorf("%w: %w", tiers.ErrUnavailable, ctx.Err())
}

package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fastopt/fastopt-go/tiers"
)

// Probing: is the server back? The connections of the pool cannot tell. They may
// be stuck in what the server does not answer, or be taken by statements that
// are, so a probe has a connection of its own, beside the limit of the pool. It
// asks what Load asks, for a server that takes connections may answer nothing
// else: a standby, a zombie, one whose table is locked.

var _ tiers.Prober = (*Source)(nil)

// probeName is a name like any other: whether it has a value is all the same.
const probeName = "probe"

// Probe reads one name on a connection of its own to Config.URL and hangs up.
// nil: a Load is answered now; the pool has then forgotten its idle connections from
// before. A probe takes two round trips more than a Load does, and with a password
// and TLS six, so its ctx should allow for more than that of a Load. One is under
// way at a time, others wait for it. Errors are those of Load.
func (s *Source) Probe(ctx context.Context, namespace string) error {
	if err := checkCall(namespace, 0); err != nil {
		return err
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	err := ctx.Err()
	if err == nil {
		select {
		case s.probing <- struct{}{}:
			err = s.probe(ctx, namespace)
			<-s.probing
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return fault("probe", s.orClosed(err))
}

func (s *Source) probe(ctx context.Context, namespace string) error {
	began := time.Now()
	c, err := s.conf.greet(ctx)
	if err != nil {
		return err
	}
	defer hangUp(c)
	if err := s.probeOn(ctx, c, namespace); err != nil {
		return s.explainBy(err, func() error { return s.check(ctx, c) })
	}
	s.pool.renew(began)
	return nil
}

// probeOn asks as Load does: once more if it has stepped the epoch. That
// somebody else has, the next probe finds.
func (s *Source) probeOn(ctx context.Context, c *pgx.Conn, namespace string) error {
	if err := s.check(ctx, c); err != nil {
		return err
	}
	ask := func() error {
		return s.loadOn(ctx, c, namespace, []string{probeName}, func(tiers.Record) {})
	}
	err := ask()
	if errors.Is(err, errHistory) {
		if stepped, _ := stepEpochOn(ctx, c, s.seen.get()); stepped {
			err = ask()
		}
	}
	return err
}

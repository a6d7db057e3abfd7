package fastopt

import (
	"context"
	"time"
)

// Load: the read that may wait. It answers at once if the entry is fresh, else
// joins flights until one makes it so, within the bound of both tiers' timeouts.

// load is Option.Load.
func (c *core) load(ctx context.Context) Reading[any] {
	if k := c.key.Load(); k != nil {
		return k.loadSince(ctx, k.token())
	}
	r := c.reading()
	if r.Origin != Override {
		r.Err = failed("load", c.name, ErrClosed)
	}
	return r
}

// loadSince returns a reading not older than the TTL, and asked for after token
// was current, if a tier gives one in time. A push that comes later does not
// prolong the wait.
func (k *key) loadSince(ctx context.Context, token uint64) Reading[any] {
	r := k.readingSince(token)
	if r.Origin == Override || r.State == Fresh && !k.m.isClosed() {
		return r
	}
	ctx, cancel := context.WithTimeout(ctx, k.m.cfg.CacheTimeout+k.m.cfg.SourceTimeout)
	defer cancel()
	err := k.await(ctx, token)
	if r = k.readingSince(token); err != nil {
		r.Err = failed("load", k.full, err)
	}
	return r
}

// await waits until the key is fresh or its row known to be invalid, a flight
// failed, or ctx ends. It joins the next attempt after a failure, and makes
// none earlier.
func (k *key) await(ctx context.Context, token uint64) error {
	for {
		if k.m.isClosed() {
			return ErrClosed
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := k.backOff(ctx); err != nil {
			return err
		}
		wait, err := k.m.loader.join(k, token)
		if wait == nil {
			return err
		}
		select {
		case res := <-wait:
			if err := res.Val.(*flight).err; err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		// A flight that was joined may have asked longer ago than the TTL: then
		// this is not fresh, and the next one is (R51).
		if r := k.readingSince(token); r.State == Fresh || k.cell.load().tier().err != nil {
			return nil
		}
	}
}

// backOff waits until the key may be asked for again.
func (k *key) backOff(ctx context.Context) error {
	wait := k.retryAt.Load() - k.m.now()
	if wait <= 0 {
		return nil
	}
	t := time.NewTimer(time.Duration(wait))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-k.m.ctx.Done():
		return ErrClosed
	}
}

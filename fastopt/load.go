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
		return k.loadFresh(ctx)
	}
	r := c.reading()
	if r.Origin != Override {
		r.Err = failed("load", c.name, ErrClosed)
	}
	return r
}

// loadFresh returns a reading not older than the TTL if a tier gives one in time.
func (k *key) loadFresh(ctx context.Context) Reading[any] {
	r := k.reading()
	if r.Origin == Override || r.State == Fresh && !k.m.isClosed() {
		return r
	}
	ctx, cancel := context.WithTimeout(ctx, k.m.cfg.CacheTimeout+k.m.cfg.SourceTimeout)
	defer cancel()
	err := k.await(ctx)
	if r = k.reading(); r.State == Fresh && err == nil {
		return r
	}
	switch {
	case err != nil:
		r.Err = failed("load", k.full, err)
	case r.Err == nil:
		r.Err = failed("load", k.full, because(ErrUnavailable, "it changes faster than it can be read"))
	}
	return r
}

// await waits until the key is fresh or invalid, a flight failed, or ctx ends. It joins the next
// attempt after a failure, and makes none earlier.
func (k *key) await(ctx context.Context) error {
	for range 16 { // each push during a flight costs one more
		if k.m.isClosed() {
			return ErrClosed
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := k.backOff(ctx); err != nil {
			return err
		}
		select {
		case res := <-k.m.loader.start(k)[0]:
			if err := res.Val.(*flight).err; err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		// A joined flight may have been asked for longer ago than the TTL: then
		// this is not fresh, and the next flight is (R51).
		if r := k.reading(); r.State == Fresh || k.cell.load().tier().err != nil {
			return nil
		}
	}
	return nil
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

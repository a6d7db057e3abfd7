package postgres

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fastopt/fastopt-go/tiers"
)

// Watching: NOTIFY only wakes; what changed is read by "revision > n", so that a
// lost or foreign notification costs time and never a change. After each connect
// comes LISTEN, then the catch-up, then trust. A heartbeat reads the head: only
// an answer shows that the path is not a black hole (R19), and a head that is
// not the cursor shows what NOTIFY failed to.

const (
	heartbeat      = 300 * time.Millisecond // of silence, before the head is asked for
	heartbeatLimit = 500 * time.Millisecond // for the answer; together < 1 s
	catchUpLimit   = time.Second            // for a page of it
	namesOnly      = -1                     // longest value that a catch-up wants
)

// A watch is one call of Watch.
type watch struct {
	s         *Source
	namespace string
	sink      func(tiers.Event)
	cursor    tiers.Stamp // everything up to it was announced; zero before the first Alive
	trusted   bool        // Alive was told after the last Lost
	pace      pace
}

// Watch listens on a connection of its own, to Config.DirectURL if that is set,
// and tries to reconnect about once a second as long as ctx lasts. It
// returns ctx's error, an error wrapping tiers.ErrSetup, or, after Close, one
// wrapping tiers.ErrUnavailable.
func (s *Source) Watch(ctx context.Context, namespace string, sink func(tiers.Event)) error {
	if err := checkCall(namespace, 0); err != nil {
		return err
	}
	bound, cancel := s.bound(ctx)
	defer cancel()
	w := &watch{s: s, namespace: namespace, sink: sink}
	for {
		err := w.session(bound)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case bound.Err() != nil:
			return fault("watch", errClosed)
		}
		if w.trusted {
			w.lost()
		}
		if err := fault("watch", err); errors.Is(err, tiers.ErrSetup) {
			return err
		}
		rest(bound, w.pace.over())
	}
}

// session connects and announces changes until that fails.
func (w *watch) session(ctx context.Context) error {
	c, err := w.s.session(ctx, &w.pace)
	if err != nil {
		return err
	}
	defer hangUp(c)
	if err := within(ctx, heartbeatLimit, func(ctx context.Context) error {
		_, err := c.Exec(ctx, `LISTEN fastopt`)
		return err
	}); err != nil {
		return err
	}
	err = w.catchUp(ctx, c)
	if errors.Is(err, errHistory) && w.step(ctx, c) {
		err = w.catchUp(ctx, c)
	}
	if err != nil {
		return err
	}
	due := time.Now().Add(heartbeat) // whatever others announce meanwhile
	for {
		var n *pgconn.Notification
		err := within(ctx, max(time.Until(due), time.Millisecond), func(ctx context.Context) (err error) {
			n, err = c.WaitForNotification(ctx)
			return err
		})
		late := !time.Now().Before(due)
		switch {
		case err == nil && !w.knows(n.Payload):
			err = w.catchUp(ctx, c)
		case err == nil && !late:
			continue
		case err == nil, ctx.Err() == nil && pgconn.Timeout(err) && !c.IsClosed():
			err = w.beat(ctx, c)
		}
		if err != nil {
			return err
		}
		due = time.Now().Add(heartbeat)
	}
}

// knows reports whether payload tells nothing new: of another namespace, not
// from our trigger, or announced already.
func (w *watch) knows(payload string) bool {
	namespace, revision, ok := parsePayload(payload)
	return !ok || namespace != w.namespace || revision <= w.cursor.Revision
}

// parsePayload splits "namespace revision". A namespace may contain spaces.
func parsePayload(payload string) (namespace string, revision uint64, ok bool) {
	i := strings.LastIndexByte(payload, ' ')
	if i < 1 {
		return "", 0, false
	}
	revision, err := strconv.ParseUint(payload[i+1:], 10, 64)
	return payload[:i], revision, err == nil
}

// beat asks for the head: Alive if it is the cursor, else a catch-up is due.
func (w *watch) beat(ctx context.Context, c *pgx.Conn) error {
	since := time.Now()
	var h history
	var head, compacted uint64
	err := within(ctx, heartbeatLimit, func(ctx context.Context) error {
		return c.QueryRow(ctx, headSQL, w.namespace).Scan(h.into(&head, &compacted)...)
	})
	if err == nil {
		err = w.s.seen.accept(h)
	}
	switch {
	case err != nil:
		return err
	case stamp(h, head) != w.cursor:
		return w.catchUp(ctx, c)
	}
	w.alive(since)
	return nil
}

// catchUp announces what changed after the cursor, then that the watch is alive.
func (w *watch) catchUp(ctx context.Context, c *pgx.Conn) error {
	for {
		since := time.Now()
		var changes tiers.Changes
		err := within(ctx, catchUpLimit, func(ctx context.Context) (err error) {
			changes, err = w.s.changesOn(ctx, c, w.namespace, w.cursor, namesOnly)
			return err
		})
		if err != nil {
			return err
		}
		if changes.Reset && w.trusted {
			w.lost()
		}
		for _, r := range changes.Records {
			w.sink(tiers.Event{Kind: tiers.Changed, Name: r.Name})
		}
		w.cursor = changes.Head
		if !changes.More {
			w.alive(since)
			return nil
		}
	}
}

// step gives the database that answers a new epoch if it is due one, and
// reports whether it did. It uses no connection of the pool, which may be stuck.
func (w *watch) step(ctx context.Context, c *pgx.Conn) (stepped bool) {
	err := within(ctx, heartbeatLimit, func(ctx context.Context) (err error) {
		stepped, err = stepEpochOn(ctx, c, w.s.seen.get())
		return err
	})
	return stepped && err == nil
}

func (w *watch) alive(since time.Time) {
	w.trusted = true
	w.pace.works()
	w.sink(tiers.Event{Kind: tiers.Alive, Since: since})
}

func (w *watch) lost() {
	w.trusted = false
	w.sink(tiers.Event{Kind: tiers.Lost})
}

// within calls f with a context that ends after d.
func within(ctx context.Context, d time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return f(ctx)
}

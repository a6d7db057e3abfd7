package fastopt

import (
	"errors"
	"fmt"

	"github.com/fastopt/fastopt-go/internal/point"
	"github.com/fastopt/fastopt-go/tiers"
)

// Settling: one record becomes an answer: decoded once per change, checked,
// published, and the flight lands.

// answerOf is the answer that rec gives to f, complete if the key's entry stems
// from the very bytes of rec, else not yet decoded.
func (m *Manager) answerOf(f *flight, rec tiers.Record, start int64, from Origin) answer {
	a := answer{rec: rec, origin: from, token: f.token, asked: start}
	if !rec.AsOf.IsZero() {
		a.asked = m.instant(rec.AsOf)
	}
	cur := f.k.cell.load().tier()
	switch {
	case rec.Kind == tiers.Absent:
		a.known = true
	case cur.key == f.k && cur.seen == rec.Stamp && cur.sum == sumOf(rec) && (cur.err != nil || cur.kind == kindValue):
		a.value, a.err, a.known = cur.boxed, cur.err, true
	}
	return a
}

// mayLinger reports whether settling a runs code of the user.
func (k *key) mayLinger(a *answer) bool { return k.userCode && !a.known }

// errBehind: the tier holds less than this process knows already.
var errBehind = errors.New("it is behind what is known here")

// settle publishes a and lands the flight. If the cache's answer is of no use
// but the source could tell better, it returns why, and the flight is still in
// the air.
func (l *loader) settle(f *flight, a *answer) error {
	m, k := l.m, f.k
	askSource := a.origin == Cache && m.cfg.Source != nil
	if !a.known {
		a.value, a.err = m.decode(k, a.rec)
		if a.err != nil && askSource {
			return a.err
		}
	}
	point.At(point.FlightSettle, m, k.full)
	out := k.install(a)
	if out == refused && a.origin == Cache {
		m.stats.behind.Add(1)
	}
	switch {
	case out == refused && k.overtook(f, a): // what is known is the answer
	case out == refused && askSource:
		return errBehind
	case out == refused:
		k.behind.CompareAndSwap(0, m.now())
		l.land(f, 0, unavailable(a.origin.String(), errBehind))
		return nil
	case out == changed && a.err != nil:
		m.rejected(k, a.err)
	}
	k.behind.Store(0)
	f.held = a.origin == Cache && out != refused
	l.land(f, a.asked, nil)
	return nil
}

// overtook reports whether the key was confirmed by an answer, or changed by a
// write, later than f asked.
func (k *key) overtook(f *flight, a *answer) bool {
	cur := k.cell.load().tier()
	return cur.token > f.token || cur.token == f.token && cur.asked.Load() >= a.asked
}

// decode decodes rec. Its error names both sides of what may be a quarrel of two
// services about one name: what is declared here, and what stands there.
func (m *Manager) decode(k *key, rec tiers.Record) (any, error) {
	v, err := m.decodeApart(k, rec)
	if err != nil {
		return nil, failed("read", k.full, fmt.Errorf("%w (declared here as %v; what is stored is a JSON %s of stamp %v)", err, k.codec.typ, kindOf(rec.Data), rec.Stamp))
	}
	return v, nil
}

// decodeApart decodes rec, on a goroutine that it may panic on or end if it runs
// code of the user.
func (m *Manager) decodeApart(k *key, rec tiers.Record) (any, error) {
	size := max(len(rec.Data), rec.Oversize)
	if size > m.cfg.MaxValue {
		return nil, because(ErrTooLarge, "it has %d bytes, the limit is %d", size, m.cfg.MaxValue)
	}
	if !k.userCode {
		return k.decode(rec.Data)
	}
	var v any
	err := because(ErrInvalidValue, "the decoder or Check ended its goroutine")
	done := make(chan struct{})
	m.work.Go(func() {
		defer close(done)
		v, err = k.decode(rec.Data)
	})
	<-done
	return v, err
}

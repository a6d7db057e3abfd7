package endtoend

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/postgres"
)

// What others do to PostgreSQL while whole processes run: notifications that are
// not ours, a table that is altered, rights that are taken away.

// uncached starts a process without Redis, which hears PostgreSQL itself.
func (w *world) uncached() *process {
	w.t.Helper()
	cfg := w.config()
	cfg.Cache = nil
	p, err := open(cfg)
	must(w.t, err)
	w.t.Cleanup(func() { must(w.t, p.Close()) })
	return p
}

func TestNotificationsThatAreNotOurs(t *testing.T) {
	w := newWorld(t)
	ps := []*process{w.start(), w.start(), w.uncached()}
	relay(t, 2*time.Second, ps[:2]...)
	set(t, ps[0], 1)
	for _, p := range ps {
		p.sees(t, 2*time.Second, 1)
	}
	var before []fastopt.Stats
	for _, p := range ps {
		before = append(before, p.Stats())
	}
	for _, payload := range []string{
		`''`, `' '`, `'garbage ' || i`, `'shop'`, `'shop '`, `'shop x' || i`, `'shop -' || i`, `'shop 1.' || i`, `'shop ' || i || ' '`,
		`'other ' || 10 + i`, `'shop shop ' || i`, `'SHOP ' || i`, `repeat('shop ', 1500) || i`, `'shøp ' || i`, `chr(1) || i`,
		`'shop 999999999999999999999' || i`,            // no number
		`'shop ' || 9223372036854775807 - i`,           // a revision of the far future
		`'shop ' || 18446744073709551615::numeric - i`, // and the last there is
		`'shop ' || i`, // of the past, or soon to come
	} {
		w.sql(`SELECT pg_notify('fastopt', ` + payload + `) FROM generate_series(1, 50) i`)
		only(t, 0, 1, ps...)
	}
	only(t, time.Second, 1, ps...)
	for i, p := range ps {
		s := p.Stats()
		if n := s.Pushes - before[i].Pushes; n > 0 || s.PushesLost != before[i].PushesLost {
			t.Errorf("process %d: %d pushes, %+v", i, n, s)
		}
		if n := s.SourceLoads - before[i].SourceLoads; n > 4 {
			t.Errorf("process %d: %d loads of the source", i, n)
		}
	}
	w.sql(fmt.Sprintf(upsert, 2)) // is heard all the same, whatever was promised before
	for _, p := range ps {
		p.sees(t, time.Second+slack, 2)
	}
}

// mends says, for what somebody did to the schema, what undoes it.
var mends = []struct{ breaks, mends, says string }{
	{`ALTER TABLE fastopt.options RENAME COLUMN revision TO rev`, `ALTER TABLE fastopt.options RENAME COLUMN rev TO revision`, "column revision of fastopt.options is missing"},
	{`ALTER TABLE fastopt.options RENAME TO other`, `ALTER TABLE fastopt.other RENAME TO options`, "table fastopt.options is missing"},
	{`ALTER SCHEMA fastopt RENAME TO away`, `ALTER SCHEMA away RENAME TO fastopt`, "the schema fastopt is missing"},
}

// A table that is altered is no table without rows: everyone keeps what it has,
// says what is wrong, and goes on by itself once that is mended.
func TestR48AnAlteredTableLosesNothing(t *testing.T) {
	w := newWorld(t)
	ps := []*process{w.start(), w.start(), w.uncached()}
	for i, m := range mends {
		v := i + 1
		within(t, 2*time.Second, "it can be set", func() bool { return second(ps[0].n.Set(ctx, v)) == nil })
		for _, p := range ps {
			p.sees(t, 2*time.Second, v)
		}
		must(t, w.query(m.breaks, nil))
		must(t, w.redisDo("FLUSHALL")) // so that the source is asked
		keeps(t, 2500*time.Millisecond, v, ps...)
		_, err := ps[1].n.Set(ctx, 900)
		if err == nil || errors.Is(err, fastopt.ErrOutcomeUnknown) || !strings.Contains(err.Error(), m.says) {
			t.Errorf("%s: Set gives %v", m.breaks, err)
		}
		if err := ps[2].Ready(); err == nil || !strings.Contains(err.Error(), m.says) {
			t.Errorf("%s: not Ready because of %v", m.breaks, err)
		}
		must(t, w.query(m.mends, nil))
		for _, p := range ps {
			p.sees(t, 3*time.Second, v)
		}
	}
}

// A column that holds anything: what is no JSON is no value.
func TestR38AColumnThatHoldsAnything(t *testing.T) {
	w := newWorld(t)
	ps := []*process{w.start(), w.start(), w.uncached()}
	relay(t, 2*time.Second, ps[:2]...)
	set(t, ps[0], 1)
	w.sql(`ALTER TABLE fastopt.options ALTER COLUMN value TYPE text`)
	for i, junk := range []string{`hidden`, ``, `{"hidden":`, `1 2`, `"hidden`, `٣`} {
		v := i + 2
		w.sql(fmt.Sprintf(upsert, v))
		for _, p := range ps {
			p.sees(t, 3*time.Second, v)
		}
		w.sql(`UPDATE fastopt.options SET value = '` + junk + `'`)
		for _, p := range ps {
			within(t, 4*time.Second, junk+": it is said", func() bool {
				only(t, 0, v, p)
				r := p.n.Inspect()
				return r.State == fastopt.Stale && errors.Is(r.Err, fastopt.ErrInvalidValue) && !strings.Contains(r.Err.Error(), "hidden")
			})
		}
		only(t, time.Second, v, ps...)
	}
	w.sql(fmt.Sprintf(upsert, 77))
	w.sql(`ALTER TABLE fastopt.options ALTER COLUMN value TYPE json USING value::json`)
	for _, p := range ps {
		p.sees(t, 3*time.Second, 77)
	}
}

// keeps fails the test if a process reads anything but v for so long, or none of
// them says at the end that it is stale.
func keeps(t *testing.T, d time.Duration, v int, ps ...*process) {
	t.Helper()
	only(t, d, v, ps...)
	for i, p := range ps {
		if r := p.n.Inspect(); r.State != fastopt.Stale || r.Err == nil {
			t.Errorf("process %d: %+v, want a stale value and why", i, r)
		}
	}
}

// Triggers that are off let changes pass unseen: the patrol finds them, and a
// source that starts says so.
func TestTriggersThatAreOff(t *testing.T) {
	w := newWorld(t)
	ps := []*process{w.start(), w.start()}
	relay(t, 2*time.Second, ps...)
	set(t, ps[0], 1)
	for _, p := range ps {
		p.sees(t, 2*time.Second, 1)
	}
	for i, off := range []string{
		`ALTER TABLE fastopt.options DISABLE TRIGGER ALL`,
		`ALTER TABLE fastopt.options DISABLE TRIGGER b_stamp`,
		`DROP TRIGGER a_notify ON fastopt.namespaces`,
	} {
		v := 10 * (i + 1)
		w.sql(off)
		if i < 2 {
			_, err := ps[1].n.Set(ctx, 900)
			if !errors.Is(err, fastopt.ErrUnavailable) || !strings.Contains(err.Error(), "ENABLE TRIGGER") {
				t.Errorf("%s: Set gives %v", off, err)
			}
			only(t, 0, ps[0].n.Get(), ps...)
		}
		w.sql(fmt.Sprintf(`UPDATE fastopt.options SET value = '%d' WHERE name = 'n'`, v))
		for _, p := range ps {
			p.sees(t, 2*patrol, v)
		}
		source, err := postgres.Open(postgres.Config{URL: w.pg.URL()})
		must(t, err)
		if _, err := source.Identity(ctx); !errors.Is(err, tiers.ErrSetup) || !strings.Contains(err.Error(), "trigger") {
			t.Errorf("%s: a source that starts says %v", off, err)
		}
		source.Close()
		w.sql(`ALTER TABLE fastopt.options ENABLE TRIGGER ALL`)
		w.sql(fmt.Sprintf(upsert, v+1))
		for _, p := range ps {
			p.sees(t, 2*time.Second, v+1)
		}
	}
}

// A role that loses a right while processes use it: nobody reads anything wrong
// or absent for it, the error names the grant, and with the right all is well again.
func TestR48ARoleThatLosesAGrant(t *testing.T) {
	w := newWorld(t)
	w.sql(postgres.Roles())
	w.sql(`CREATE ROLE service LOGIN PASSWORD 'topsecret'; GRANT fastopt_reader, fastopt_writer, fastopt_relay TO service`)
	as := func() string {
		u, err := url.Parse(w.pg.URL())
		must(t, err)
		u.User = url.UserPassword("service", "topsecret")
		return u.String()
	}
	start := func(cached bool) *process {
		cfg := w.config()
		if !cached {
			cfg.Cache = nil
		}
		source, err := postgres.Open(postgres.Config{URL: as()})
		must(t, err)
		t.Cleanup(source.Close)
		cfg.Source = source
		p, err := open(cfg)
		must(t, err)
		t.Cleanup(func() { must(t, p.Close()) })
		return p
	}
	ps := []*process{start(true), start(true), start(false)}
	relay(t, 2*time.Second, ps[:2]...)
	const members = `fastopt_reader, fastopt_writer, fastopt_deleter, fastopt_relay`
	v := 0
	for _, c := range []struct {
		loses, back, says string
		reads             bool // it may still read
	}{
		{`REVOKE SELECT ON fastopt.options FROM ` + members, `GRANT SELECT ON fastopt.options TO ` + members, "GRANT SELECT ON fastopt.options", false},
		{`REVOKE SELECT ON fastopt.namespaces FROM ` + members, `GRANT SELECT ON fastopt.namespaces TO ` + members, "GRANT SELECT ON fastopt.namespaces", false},
		{`REVOKE USAGE ON SCHEMA fastopt FROM ` + members, `GRANT USAGE ON SCHEMA fastopt TO ` + members, "GRANT USAGE ON SCHEMA fastopt", false},
		{`REVOKE INSERT, UPDATE ON fastopt.options FROM fastopt_writer`, `GRANT INSERT, UPDATE ON fastopt.options TO fastopt_writer`, "GRANT INSERT, UPDATE ON fastopt.options", true},
		{`REVOKE EXECUTE ON FUNCTION fastopt.begin_write FROM PUBLIC`, `GRANT EXECUTE ON FUNCTION fastopt.begin_write TO PUBLIC`, "begin_write", true},
	} {
		v++
		within(t, 3*time.Second, "it can be set", func() bool { return second(ps[0].n.Set(ctx, v)) == nil })
		for _, p := range ps {
			p.sees(t, 3*time.Second, v)
		}
		w.sql(c.loses)
		must(t, w.redisDo("FLUSHALL"))
		if c.reads {
			only(t, 2500*time.Millisecond, v, ps...)
			for _, p := range ps {
				p.sees(t, time.Second, v)
			}
		} else {
			only(t, 2500*time.Millisecond, v, ps...) // those with Redis may be fed from what is still to be read
			keeps(t, 0, v, ps[2])
			if err := ps[2].Ready(); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: not Ready because of %v", c.loses, err)
			}
		}
		_, err := ps[1].n.Set(ctx, 900)
		if err == nil || errors.Is(err, fastopt.ErrOutcomeUnknown) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: Set gives %v", c.loses, err)
		}
		only(t, 0, v, ps...)
		w.sql(c.back)
		for _, p := range ps {
			p.sees(t, 3*time.Second, v)
		}
	}
}

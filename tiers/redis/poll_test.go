package redis

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/internal/servers"
	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/tiertest"
)

func openPolled(t testing.TB, url string) *Cache {
	t.Helper()
	c, err := Open(Config{URL: url, Poll: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// old is a server that knows neither the newer protocol nor tracking.
func old(t *testing.T) *servers.RedisServer {
	conf := filepath.Join(t.TempDir(), "old.conf")
	if err := os.WriteFile(conf, []byte("rename-command HELLO \"\"\nrename-command CLIENT \"\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return private(t, "include="+conf)
}

func TestCacheKeepsTheContractByPolls(t *testing.T) {
	t.Parallel()
	r := private(t)
	c := corruptible{openPolled(t, r.URL()), operate(t, r.Addr())}
	tiertest.TestCache(t, func(*testing.T) tiers.Cache { return c })
}

func TestCacheKeepsTheContractByPollsInACluster(t *testing.T) {
	t.Parallel()
	r := startCluster(t, 3, false)
	c := cornered{openPolled(t, r.url()), r}
	tiertest.TestCache(t, func(*testing.T) tiers.Cache { return c })
}

func TestAServerWithoutTrackingIsPolledIfThatIsSaid(t *testing.T) {
	r := old(t)
	err := load(t, open(t, r.URL()), "x").Err
	if !errors.Is(err, tiers.ErrSetup) || !strings.Contains(err.Error(), "Poll") {
		t.Errorf("without Poll: %v", err)
	}
	c, other := openPolled(t, r.URL()), openPolled(t, r.URL())
	l := listen(t, c)
	at := l.after(t, 0, "Alive", kind(tiers.Alive))
	for revision := range uint64(5) {
		load(t, c, "x")
		put(t, other, value("x", 1, revision+1, `1`))
		began := time.Now()
		at = l.after(t, at, "the change", changed("x"))
		if d := time.Since(began); d > time.Second {
			t.Errorf("heard after %v", d)
		}
	}
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	at = l.after(t, at, "Lost", kind(tiers.Lost))
	if err := r.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.after(t, at, "Alive", kind(tiers.Alive))
	if err := load(t, c, "x").Err; !errors.Is(err, tiers.ErrMiss) {
		t.Errorf("restarted empty: %v", err)
	}
}

func TestAFrozenServerThatIsPolledIsNoticed(t *testing.T) {
	r := private(t)
	c := openPolled(t, r.URL())
	l := listen(t, c)
	l.after(t, 0, "Alive", kind(tiers.Alive))
	load(t, c, "x")
	at := len(l.heard())
	if err := r.Freeze(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	l.after(t, at, "Lost", kind(tiers.Lost))
	noticed(t, began)
	for _, e := range l.heard()[at:] {
		if e.Kind == tiers.Alive && e.Since.After(began.Add(100*time.Millisecond)) {
			t.Errorf("told Alive of %v after the freeze", e.Since.Sub(began))
		}
	}
}

// A load that is under way when a poll begins may have read what changed before
// the poll, and its name is not among those that were compared.
func TestAPollDoesNotSpeakForLoadsUnderWay(t *testing.T) {
	p := &polls{seen: map[string]seen{}, flying: map[*int64]bool{}}
	load := p.depart(5)
	if _, covers := p.begin(9); covers != 5 {
		t.Errorf("covers %d beside a load sent at 5", covers)
	}
	p.land(load, []string{"x"}, make([]reply, 1), func(key string) { t.Errorf("%s is announced at its first load", key) })
	if keys, covers := p.begin(9); covers != 9 || len(keys) != 1 {
		t.Errorf("covers %d after the load, %v", covers, keys)
	}
}

// A name that nobody loads any more is not read for ever: who wants it is told to load it.
func TestInterestInANameEnds(t *testing.T) {
	p := &polls{seen: map[string]seen{
		"old": {"same", time.Now().Add(-interest)}, "young": {"same", time.Now()}, "changed": {"other", time.Now()}}}
	for key, want := range map[string]bool{"old": true, "young": false, "changed": true, "unknown": false} {
		if p.differs(key, "same") != want {
			t.Errorf("%s: announced is %v", key, !want)
		}
		if _, kept := p.seen[key]; kept != (key == "young") {
			t.Errorf("%s: kept is %v", key, kept)
		}
	}
}

// The first to read may hold what it was told, and the second may have given up
// before its answer came: if only that one were compared, nobody would hear of it.
func TestAPollAnnouncesWhatALaterLoadWasTold(t *testing.T) {
	r := private(t)
	c, other := openPolled(t, r.URL()), openPolled(t, r.URL())
	l := listen(t, c)
	at := l.after(t, 0, "Alive", kind(tiers.Alive))
	put(t, other, value("x", 1, 1, `1`))
	for revision := range uint64(3) {
		load(t, c, "x")
		put(t, other, value("x", 1, revision+2, `2`))
		load(t, c, "x")
		at = l.after(t, at, "the change", changed("x"))
	}
}

//go:build unix

// What the two kinds of servers promise: to answer, to hang, to die and to come
// back. Answers are asked for by plain connections.

package servers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// patience is how long a healthy server may take to answer, impatience how long
// a frozen one is waited for.
const (
	patience   = 10 * time.Second
	impatience = 100 * time.Millisecond
)

// ask sends a redis-server one command and returns the first line of the answer.
func ask(addr, command string, limit time.Duration) (string, error) {
	conn, err := net.DialTimeout("tcp", addr, limit)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(conn, "%s\r\n", command); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line), err
}

func wantAnswer(t *testing.T, r *RedisServer, command, want string) {
	t.Helper()
	if got, err := ask(r.Addr(), command, patience); err != nil || got != want {
		t.Fatalf("%s: got %q, %v; want %q", command, got, err, want)
	}
}

// connect opens a connection that ends with the test, so that the server has a
// process for it.
func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), impatience)
		defer cancel()
		_ = conn.Close(ctx) // its server may be gone
	})
	return conn
}

func execute(t *testing.T, url, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := connect(t, url).Exec(ctx, sql); err != nil {
		t.Fatal(err)
	}
}

// number runs a query that returns one.
func number(t *testing.T, url, sql string) (n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := connect(t, url).QueryRow(ctx, sql).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// family returns the process ids of a server: itself and its children.
func family(t *testing.T, h handle) []int {
	t.Helper()
	children, err := childrenOf(h.PID())
	if err != nil {
		t.Fatal(err)
	}
	return append(children, h.PID())
}

func wantGone(t *testing.T, pids []int, dirs ...string) {
	t.Helper()
	for _, pid := range pids {
		if !eventually(patience, func() bool { return gone(stateOf(pid)) }) {
			t.Errorf("process %d of %v still runs, in state %c", pid, pids, stateOf(pid))
		}
	}
	for _, dir := range dirs {
		if !eventually(patience, func() bool { _, err := os.Stat(dir); return errors.Is(err, os.ErrNotExist) }) {
			t.Errorf("folder %s is still there", dir)
		}
	}
}

func TestStopLeavesNothing(t *testing.T) {
	r, p := PrivateRedis(t, Options{}), PrivatePostgres(t, Options{})
	wantAnswer(t, r, "PING", "+PONG")
	connect(t, p.URL())
	for _, h := range []handle{r.handle, p.handle} {
		pids := family(t, h)
		for range 2 { // the second time it does nothing
			if err := h.Stop(); err != nil {
				t.Fatal(err)
			}
		}
		for _, pid := range pids {
			if !gone(stateOf(pid)) {
				t.Errorf("process %d of %v runs after Stop", pid, pids)
			}
		}
		if _, err := os.Stat(h.srv.dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("folder %s is there after Stop", h.srv.dir)
		}
	}
}

func TestRedisIsEmptyAfterKillAndRestart(t *testing.T) {
	r := PrivateRedis(t, Options{})
	url, first := r.URL(), r.PID()
	wantAnswer(t, r, "SET key value", "+OK")
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	if r.PID() != 0 {
		t.Errorf("PID is %d after Kill, want 0", r.PID())
	}
	if _, err := ask(r.Addr(), "PING", impatience); err == nil {
		t.Error("a killed server answered")
	}
	if err := r.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.URL() != url || r.PID() == first || r.PID() == 0 {
		t.Errorf("got URL %s, process %d; want URL %s, another process than %d", r.URL(), r.PID(), url, first)
	}
	wantAnswer(t, r, "EXISTS key", ":0")
}

func TestRedisAllowsDebug(t *testing.T) {
	wantAnswer(t, PrivateRedis(t, Options{}), "DEBUG SLEEP 0", "+OK")
}

func TestFrozenRedisIsSilentUntilThawed(t *testing.T) {
	r := PrivateRedis(t, Options{})
	if err := r.Freeze(); err != nil {
		t.Fatal(err)
	}
	if got, err := ask(r.Addr(), "PING", impatience); err == nil {
		t.Errorf("a frozen server answered %q", got)
	}
	if err := r.Thaw(); err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, r, "PING", "+PONG")
}

// A backend serves its client without the postmaster: it has to be frozen, too.
func TestFrozenPostgresIsSilentUntilThawed(t *testing.T) {
	p := PrivatePostgres(t, Options{})
	conn := connect(t, p.URL()).PgConn().Conn() // what is sent by hand does not end the connection in time
	if err := p.Freeze(); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("Q\x00\x00\x00\x0dSELECT 1\x00")); err != nil {
		t.Fatal(err)
	}
	answered := func(limit time.Duration) bool {
		if err := conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
			t.Fatal(err)
		}
		_, err := conn.Read(make([]byte, 1))
		return err == nil
	}
	if answered(impatience) {
		t.Error("a frozen server answered on an old connection")
	}
	ctx, cancel := context.WithTimeout(t.Context(), impatience)
	defer cancel()
	if _, err := pgx.Connect(ctx, p.URL()); err == nil {
		t.Error("a frozen server took a new connection")
	}
	if err := p.Thaw(); err != nil {
		t.Fatal(err)
	}
	if !answered(patience) {
		t.Error("a thawed server does not answer what it was asked")
	}
	if got := number(t, p.URL(), "SELECT 1"); got != 1 {
		t.Errorf("got %d, want 1", got)
	}
}

func TestPostgresKeepsEveryCommitAcrossRestarts(t *testing.T) {
	p := PrivatePostgres(t, Options{})
	url := p.URL()
	execute(t, url, "CREATE TABLE kept (n int)")
	breaks := map[string]func() error{
		"running": func() error { return nil },
		"killed":  p.Kill,
		"frozen":  p.Freeze,
	}
	want := 0
	for name, brk := range breaks {
		execute(t, url, "INSERT INTO kept VALUES (1)") // acknowledged a moment before
		want++
		pids := family(t, p.handle)
		if err := brk(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := p.Restart(t.Context()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		wantGone(t, pids)
		if got := number(t, url, "SELECT count(*) FROM kept"); got != want || p.URL() != url {
			t.Errorf("%s: got %d rows, want %d", name, got, want)
		}
	}
}

func TestKillEndsTheChildren(t *testing.T) {
	p := PrivatePostgres(t, Options{})
	connect(t, p.URL())
	pids := family(t, p.handle)
	if len(pids) < 3 {
		t.Fatalf("postgres runs as %v; want several processes", pids)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if !gone(stateOf(pid)) {
			t.Errorf("process %d of %v runs after Kill", pid, pids)
		}
	}
}

func TestFrozenServersCanBeStopped(t *testing.T) {
	r, p := PrivateRedis(t, Options{}), PrivatePostgres(t, Options{})
	for _, h := range []handle{r.handle, p.handle} {
		pids := family(t, h)
		if err := h.Freeze(); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if err := h.Stop(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took >= stopLimit {
			t.Errorf("Stop took %v: it waited for a frozen server", took)
		}
		wantGone(t, pids, h.srv.dir)
	}
}

func TestSignalsNeedARunningServer(t *testing.T) {
	r := PrivateRedis(t, Options{})
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	for name, signal := range map[string]func() error{"Kill": r.Kill, "Freeze": r.Freeze, "Thaw": r.Thaw} {
		if err := signal(); !errors.Is(err, ErrNotRunning) {
			t.Errorf("%s of a killed server: got %v, want ErrNotRunning", name, err)
		}
	}
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := r.Restart(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Restart of a stopped server: got %v, want ErrNotRunning", err)
	}
}

func TestSettingsReachTheServer(t *testing.T) {
	r := PrivateRedis(t, Options{Settings: []string{"databases=1"}})
	if got, err := ask(r.Addr(), "SELECT 1", patience); err != nil || !strings.HasPrefix(got, "-ERR") {
		t.Errorf("SELECT 1 with databases=1: got %q, %v; want an error reply", got, err)
	}
	p := PrivatePostgres(t, Options{Settings: []string{"max_connections=20"}})
	if got := number(t, p.URL(), "SELECT current_setting('max_connections')::int"); got != 20 {
		t.Errorf("max_connections is %d, want 20", got)
	}
}

func TestConcurrentStartsGetServersOfTheirOwn(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]bool{}
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			r, err1 := StartRedis(t.Context(), Options{})
			p, err2 := StartPostgres(t.Context(), Options{})
			if err := errors.Join(err1, err2); err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			seen[r.Addr()], seen[p.Addr()] = true, true
			mu.Unlock()
			if err := errors.Join(r.Stop(), p.Stop()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if len(seen) != 6 {
		t.Errorf("got addresses %v; want 6 of them", seen)
	}
}

func TestNewDatabaseIsEmpty(t *testing.T) {
	p := PrivatePostgres(t, Options{})
	execute(t, p.URL(), "CREATE TABLE here ()")
	other, err := p.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := number(t, other, "SELECT count(*) FROM pg_tables WHERE tablename = 'here'"); got != 0 {
		t.Error("a new database has the tables of another one")
	}
}

func TestDatabaseEndsWithItsTest(t *testing.T) {
	var url string
	t.Run("user", func(t *testing.T) {
		url = Database(t)
		connect(t, url)
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := pgx.Connect(ctx, url); err == nil {
		t.Error("the database is still there after its test")
	}
}

//go:build unix

// What goes wrong at a start: programs missing, ports taken, settings refused,
// time over, somebody else's server.

package servers

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// starts are both kinds, as functions that stop what they started.
func starts() map[string]func(context.Context, Options) error {
	return map[string]func(context.Context, Options) error{
		"redis": func(ctx context.Context, o Options) error {
			r, err := StartRedis(ctx, o)
			if err != nil {
				return err
			}
			return r.Stop()
		},
		"postgres": func(ctx context.Context, o Options) error {
			p, err := StartPostgres(ctx, o)
			if err != nil {
				return err
			}
			return p.Stop()
		},
	}
}

// emptyTemp makes an empty folder the place of temporary ones and returns a check
// that it is empty again.
func emptyTemp(t *testing.T) (check func()) {
	t.Helper()
	dir, err := os.MkdirTemp("", "fastopt-test-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil { // postgres must pass, under its own account
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", dir)
	return func() {
		t.Helper()
		if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
}

func TestTakenPortIsGivenUp(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, start := range starts() {
		calls := 0
		err := start(t.Context(), Options{pick: func() (int, error) {
			if calls++; calls == 1 {
				return taken.Addr().(*net.TCPAddr).Port, nil
			}
			return freePort()
		}})
		if err != nil || calls != 2 {
			t.Errorf("%s: got %v after %d ports; want a start on the second", name, err, calls)
		}
	}
}

func TestStartFailsWhenAllPortsAreTaken(t *testing.T) {
	check := emptyTemp(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, err = StartRedis(t.Context(), Options{pick: func() (int, error) { return taken.Addr().(*net.TCPAddr).Port, nil }})
	if !errors.Is(err, errPortTaken) {
		t.Errorf("got %v, want errPortTaken", err)
	}
	check()
}

func TestFailedStartShowsTheLogAndLeavesNothing(t *testing.T) {
	check := emptyTemp(t)
	for name, start := range starts() {
		err := start(t.Context(), Options{Settings: []string{"no_such_setting=1"}})
		if err == nil || !strings.Contains(err.Error(), "no_such_setting") {
			t.Errorf("%s: got %v; want what the server said of no_such_setting", name, err)
		}
	}
	check()
}

func TestMalformedSettingIsRefused(t *testing.T) {
	for name, start := range starts() {
		for _, setting := range []string{"", "name", "=value", "--name=value"} {
			if err := start(t.Context(), Options{Settings: []string{setting}}); err == nil || !strings.Contains(err.Error(), "name=value") {
				t.Errorf("%s: setting %q: got %v; want an error that shows the form", name, setting, err)
			}
		}
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	check := emptyTemp(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, start := range starts() {
		if err := start(ctx, Options{}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want context.Canceled", name, err)
		}
	}
	check()
}

// The server is up, but the context ends before it says so: no half-started one
// stays, neither at first nor after a Restart.
func TestServerThatIsNotReadyInTimeIsEnded(t *testing.T) {
	check := emptyTemp(t)
	program, err := findRedis()
	if err != nil {
		t.Fatal(err)
	}
	first, cancelFirst := context.WithCancel(t.Context())
	defer cancelFirst()
	second, cancelSecond := context.WithCancel(t.Context())
	defer cancelSecond()
	var pids []int
	never, expire := false, func() {}
	k := kind{
		name:    "redis",
		program: program,
		args:    func(data string, port int) []string { return redisArgs(data, port, 7, nil) },
		quit:    syscall.SIGKILL,
		ready: func(pid int, _, _ string) bool {
			pids = append(pids, pid)
			expire()
			return !never
		},
	}
	s, err := newServer(first, k, freePort, func(string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	never, expire = true, cancelFirst
	if err := s.restart(first); !errors.Is(err, context.Canceled) || s.pid() != 0 {
		t.Errorf("restart: got %v, process %d; want context.Canceled and none", err, s.pid())
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	expire = cancelSecond
	if _, err := newServer(second, k, freePort, func(string) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("start: got %v, want context.Canceled", err)
	}
	for _, pid := range pids {
		if !gone(stateOf(pid)) {
			t.Errorf("process %d still runs", pid)
		}
	}
	check()
}

func TestFolderOfRootAloneIsNotReachable(t *testing.T) {
	closed := filepath.Join(t.TempDir(), "closed")
	if err := os.MkdirAll(filepath.Join(closed, "open"), 0o711); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	if !reachable("/") || reachable(filepath.Join(closed, "open")) {
		t.Errorf("reachable: / %v, a folder below a closed one %v; want true, false", reachable("/"), reachable(filepath.Join(closed, "open")))
	}
}

func TestMissingProgramSaysWhatToInstall(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	redis, postgres := redisPlaces, postgresPlaces
	redisPlaces, postgresPlaces = nil, nil
	defer func() { redisPlaces, postgresPlaces = redis, postgres }()
	for name, start := range starts() {
		err := start(t.Context(), Options{})
		if !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), " install "+name) && !strings.Contains(err.Error(), " install redis-server") {
			t.Errorf("%s: got %v; want ErrMissing and a command", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %q has several lines", name, err)
		}
	}
}

func TestNewestPostgresWins(t *testing.T) {
	root := t.TempDir()
	t.Setenv("PATH", t.TempDir())
	for _, file := range []string{"9/bin/postgres", "9/bin/initdb", "15/bin/postgres", "15/bin/initdb", "16/bin/postgres"} {
		path := filepath.Join(root, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if got := findDir([]string{root + "/*/bin"}, "postgres", "initdb"); got != filepath.Join(root, "15/bin") {
		t.Errorf("got %q, want 15/bin: newest, and with initdb", got)
	}
}

func TestExternalServersAreUsedAndLeftAlone(t *testing.T) {
	ownRedis, ownPostgres := PrivateRedis(t, Options{}), PrivatePostgres(t, Options{})
	t.Setenv(RedisEnv, ownRedis.URL())
	t.Setenv(PostgresEnv, ownPostgres.URL())
	r, p := Redis(t), Postgres(t)
	if r.URL() != ownRedis.URL() || r.Addr() != ownRedis.Addr() || p.Addr() != ownPostgres.Addr() {
		t.Errorf("got %s and %s; want the servers of the environment", r.URL(), p.URL())
	}
	if p.URL() == ownPostgres.URL() {
		t.Error("the database of the environment is used itself; want a new one beside it")
	}
	for _, h := range []handle{r.handle, p.handle} {
		for name, do := range map[string]func() error{
			"Kill": h.Kill, "Freeze": h.Freeze, "Thaw": h.Thaw,
			"Restart": func() error { return h.Restart(t.Context()) },
		} {
			if err := do(); !errors.Is(err, ErrExternal) {
				t.Errorf("%s: got %v, want ErrExternal", name, err)
			}
		}
		if err := h.Stop(); err != nil || h.PID() != 0 {
			t.Errorf("Stop: %v, PID %d; want nothing done, 0", err, h.PID())
		}
	}
	wantAnswer(t, r, "PING", "+PONG")
	if got := number(t, p.URL(), "SELECT 1"); got != 1 {
		t.Errorf("got %d, want 1", got)
	}
}

func TestMalformedExternalURLIsNotRepeated(t *testing.T) {
	const canary = "canary-password"
	for _, raw := range []string{canary, "postgres://user:" + canary + "@%zz/", "host=x password=" + canary} {
		_, err1 := externalRedis(raw)
		_, err2 := externalPostgres(raw)
		for _, err := range []error{err1, err2} {
			if err == nil || strings.Contains(err.Error(), canary) {
				t.Errorf("got %v; want an error without the URL's text", err)
			}
		}
	}
}

//go:build unix

// What happens to the servers when the process that started them ends without
// stopping them. This test binary plays that process.

package servers

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const parentEnv = "FASTOPT_SERVERS_PARENT"

func TestMain(m *testing.M) {
	if how := os.Getenv(parentEnv); how != "" {
		parent(how)
	}
	os.Exit(m.Run())
}

// orphans is what a parent says of its servers before it ends.
type orphans struct {
	Pids []int
	Dirs []string
}

// parent starts both servers and ends in the given way.
func parent(how string) {
	r, err := StartRedis(context.Background(), Options{})
	check(err)
	p, err := StartPostgres(context.Background(), Options{})
	check(err)
	conn, err := pgx.Connect(context.Background(), p.URL())
	check(err)

	var o orphans
	for _, h := range []handle{r.handle, p.handle} {
		children, err := childrenOf(h.PID())
		check(err)
		o.Pids = append(append(o.Pids, children...), h.PID())
		o.Dirs = append(o.Dirs, h.srv.dir)
		if strings.Contains(how, "frozen") {
			check(h.Freeze())
		}
		if strings.Contains(how, "unguarded") {
			check(h.srv.guard.cmd.Process.Kill())
		}
	}
	if strings.Contains(how, "busy") {
		go conn.Exec(context.Background(), "SELECT count(*) FROM generate_series(1, 1e15::bigint)")
		other, err := pgx.Connect(context.Background(), p.URL())
		check(err)
		for running := false; !running; {
			check(other.QueryRow(context.Background(),
				"SELECT count(*) > 0 FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%1e15%' AND pid <> pg_backend_pid()").Scan(&running))
		}
	}
	check(json.NewEncoder(os.Stdout).Encode(o))
	switch {
	case strings.Contains(how, "panic"):
		panic("the parent panics")
	case strings.Contains(how, "exit"):
		os.Exit(0)
	}
	select {} // the test kills us
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
}

func TestServersEndWithTheirParent(t *testing.T) {
	hows := []string{"panic", "exit", "killed", "killed, frozen", "killed, busy"}
	if runtime.GOOS == "linux" {
		hows = append(hows, "killed, unguarded") // the kernel alone ends the servers
	}
	for _, how := range hows {
		t.Run(how, func(t *testing.T) {
			o := orphaned(t, how)
			if strings.Contains(how, "unguarded") { // the folders stay: do the guard's work
				wantGone(t, o.Pids)
				for _, dir := range o.Dirs {
					if err := exec.Command("/bin/sh", "-c", guardScript, "guard", dir).Run(); err != nil {
						t.Error(err)
					}
				}
			}
			wantGone(t, o.Pids, o.Dirs...)
		})
	}
}

// orphaned runs a parent to its end and returns what it left.
func orphaned(t *testing.T, how string) (o orphans) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), parentEnv+"="+how)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &o)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it does not end well, by design
	if err != nil || len(o.Pids) < 4 || len(o.Dirs) != 2 {
		t.Fatalf("the parent said %+v, %v; want two servers", o, err)
	}
	t.Cleanup(func() { // after a failure only: what lives on would live for ever
		for _, pid := range o.Pids {
			if !gone(stateOf(pid)) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
	return o
}

// On Linux the kernel takes the end of the thread that started a server for our
// end: the goroutine that starts one must stay on its thread, and keep it.
func TestServersOutliveThreads(t *testing.T) {
	r := PrivateRedis(t, Options{})
	stacks := make([]byte, 1<<20)
	for stack := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		header, _, _ := strings.Cut(stack, "\n")
		if strings.Contains(stack, "servers.startProcess.func") && !strings.Contains(header, "locked to thread") {
			t.Errorf("a server was started by %q; want it locked to its thread", header)
		}
	}
	var all, done sync.WaitGroup
	const threads = 50
	all.Add(threads)
	for range threads {
		done.Go(func() {
			runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
			all.Done()
			all.Wait()
		})
	}
	done.Wait()
	if r.srv.run.waitEnd(300 * time.Millisecond) {
		t.Error("the server ended with a thread")
	}
}

// Somebody who keeps only the URL still has a server.
func TestServerOutlivesItsHandle(t *testing.T) {
	r, err := StartRedis(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	addr, run := r.Addr(), r.srv.run
	r = nil
	for range 3 {
		runtime.GC()
	}
	if run.waitEnd(300 * time.Millisecond) {
		t.Error("the server ended with its handle")
	}
	if got, err := ask(addr, "PING", patience); err != nil || got != "+PONG" {
		t.Errorf("got %q, %v; want +PONG", got, err)
	}
	if err := syscall.Kill(run.pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	run.waitEnd(patience)
}

func TestStopLeavesNoGoroutine(t *testing.T) {
	stacks := make([]byte, 1<<20)
	running := func() int {
		return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "servers.startProcess.func")
	}
	before := running()
	r, err := StartRedis(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if running() <= before {
		t.Fatal("the goroutine to look for has another name")
	}
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	if !eventually(patience, func() bool { return running() <= before }) {
		t.Errorf("goroutines are left:\n%s", stacks)
	}
}

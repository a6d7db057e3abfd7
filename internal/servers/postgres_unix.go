//go:build unix

// How postgres is run.

package servers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

func startPostgres(ctx context.Context, o Options) (*server, error) {
	return startPostgresOn(ctx, o, func(p programs, data string) error {
		if o.Fresh {
			return template{p}.build(ctx, data)
		}
		return template{p}.copyTo(ctx, data)
	})
}

// startPostgresOn starts a postgres on the data that fill puts into its folder.
func startPostgresOn(ctx context.Context, o Options, fill func(p programs, data string) error) (*server, error) {
	p, err := findPrograms()
	if err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	return newServer(ctx, kind{
		name:    "postgres",
		program: p.path("postgres"),
		args:    func(data string, port int) []string { return postgresArgs(data, port, o.Settings) },
		account: p.account,
		quit:    syscall.SIGINT, // fast shutdown: clients are cut off, a checkpoint is written
		ready:   func(pid int, data, _ string) bool { return postmasterReady(pid, data) },
	}, o.port, func(data string) error { return fill(p, data) })
}

// programs are those of an installation of Postgres, and who is to run those that
// touch data.
type programs struct {
	bin     string
	account *account
}

func findPrograms() (programs, error) {
	bin, err := findPostgres()
	if err != nil {
		return programs{}, err
	}
	// Where $PATH holds only links to some, the rest is beside what they lead to.
	if real, err := filepath.EvalSymlinks(filepath.Join(bin, "postgres")); err == nil && executable(filepath.Dir(real), "initdb") {
		bin = filepath.Dir(real)
	}
	runAs, err := unprivileged()
	return programs{bin: bin, account: runAs}, err
}

func (p programs) path(name string) string { return filepath.Join(p.bin, name) }

// run runs a program to its end in the folder dir, or kills it when ctx ends, and
// returns what it has printed on its standard output. The error carries the end of
// both outputs.
func (p programs) run(ctx context.Context, dir, input, name string, args ...string) (string, error) {
	out, complaints, err := p.outputs(ctx, dir, input, name, args...)
	if err != nil {
		return "", fmt.Errorf("%s: %w; it says:\n%s", name, err, tail(out+complaints))
	}
	return out, nil
}

func (p programs) outputs(ctx context.Context, dir, input, name string, args ...string) (out, complaints string, err error) {
	plain := command(p.path(name), p.account, args...)
	cmd := exec.CommandContext(ctx, plain.Path)
	cmd.Args, cmd.Env, cmd.SysProcAttr = plain.Args, plain.Env, plain.SysProcAttr
	var stdout, stderr strings.Builder
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, strings.NewReader(input), &stdout, &stderr
	err = cmd.Run()
	return stdout.String(), stderr.String(), err
}

// single runs SQL on a data folder whose server does not run.
func (p programs) single(ctx context.Context, data, sql string) error {
	out, complaints, err := p.outputs(ctx, "/", sql+"\n", "postgres", "--single", "-c", "fsync=off", "-D", data, "template1")
	if err != nil || strings.Contains(complaints, "ERROR") {
		return fmt.Errorf("postgres --single: %v; it says:\n%s", err, tail(out+complaints))
	}
	return nil
}

func postgresArgs(data string, port int, settings []string) []string {
	args := []string{"-D", data}
	for _, s := range append([]string{
		"port=" + strconv.Itoa(port),
		"listen_addresses=127.0.0.1",
		"unix_socket_directories=", // their paths may be too long, and nobody uses them
		// The machine stays up, the server does not: what it has written survives,
		// so fsync can go. What it has acknowledged must be written when Kill comes,
		// and a page may be half written then: synchronous_commit and
		// full_page_writes must stay.
		"fsync=off",
		"shared_buffers=32MB",
		"max_wal_size=128MB",              // the folder may be in memory
		"dynamic_shared_memory_type=mmap", // in the data folder: gone with it, even after SIGKILL
	}, settings...) {
		args = append(args, "-c", s)
	}
	return args
}

// postmasterReady reads what postgres says of itself in postmaster.pid: the
// first line is its process id, the eighth "ready". Unlike a connection, that
// cannot be the answer of another server on the port.
func postmasterReady(pid int, data string) bool {
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return false
	}
	lines := strings.Split(string(text), "\n")
	return len(lines) >= 8 && lines[0] == strconv.Itoa(pid) && strings.TrimSpace(lines[7]) == "ready"
}

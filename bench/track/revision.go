package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// A revision is one state of the code, in a folder of its own, from which test
// binaries are built.

type revision struct {
	label string // base or head
	dir   string // top folder
	pkg   string // folder of the package, relative to dir, with slashes
}

// checkOut puts a commit into a new folder beside nothing else, and returns what
// removes it again.
func checkOut(ctx context.Context, root, ref, dir string) (remove func() error, err error) {
	if _, err := git(ctx, root, "worktree", "add", "--detach", dir, ref); err != nil {
		return nil, err
	}
	return func() error {
		// Also after an interrupt, which is when a folder would be left behind.
		_, err := git(context.WithoutCancel(ctx), root, "worktree", "remove", "--force", dir)
		return err
	}, nil
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", strings.Join(args, " "), said(err))
	}
	return strings.TrimSpace(string(out)), nil
}

// module returns the folder of the module that the package is in, and the package
// as that module calls it.
func (r revision) module() (dir, pkg string, err error) {
	rel := path.Clean(strings.TrimPrefix(r.pkg, "./"))
	if _, err := os.Stat(filepath.Join(r.dir, filepath.FromSlash(rel))); err != nil {
		return "", "", fmt.Errorf("%s has no package %s: %w", r.label, r.pkg, err)
	}
	for at := rel; ; at = path.Dir(at) {
		if _, err := os.Stat(filepath.Join(r.dir, filepath.FromSlash(at), "go.mod")); err == nil {
			below := strings.TrimPrefix(strings.TrimPrefix(rel, at), "/")
			if at == "." {
				below = rel
			}
			return filepath.Join(r.dir, filepath.FromSlash(at)), "./" + below, nil
		}
		if at == "." || at == "/" {
			return "", "", fmt.Errorf("%s: no go.mod above %s", r.label, r.pkg)
		}
	}
}

// build links the package's test binary with its functions in one of many orders.
func (r revision) build(ctx context.Context, layout int, out string) error {
	dir, pkg, err := r.module()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-trimpath", "-buildvcs=false",
		fmt.Sprintf("-ldflags=-randlayout=%d", layout), "-o", out, pkg)
	cmd.Dir = dir
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the tests of %s: %w\n%s", r.label, err, text)
	}
	return nil
}

// A program is a built test binary and how it is started.
type program struct {
	file string
	dir  string   // of the package, as go test has it
	pin  []string // a command in front of it, or nothing
	skip string   // benchmarks that are left out
}

// bench runs the benchmarks that match once each, and returns what they print.
func (p program) bench(ctx context.Context, pattern, benchtime string) (string, error) {
	args := append(p.pin[:len(p.pin):len(p.pin)], p.file, "-test.run=^$", "-test.bench="+pattern, "-test.benchtime="+benchtime, "-test.benchmem", "-test.count=1", "-test.skip="+p.skip)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = p.dir
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return "", errors.New("interrupted")
	}
	if err != nil {
		return "", fmt.Errorf("%s -test.bench=%s: %w\n%s%s", filepath.Base(p.file), pattern, err, out, errs.String())
	}
	return string(out), nil
}

// pinned is the command that keeps a program on the given processors, and how to
// say so. Where the system has none, both revisions run unpinned, alike.
func pinned(cpus string) (pin []string, how string) {
	tool, err := exec.LookPath("taskset")
	if err != nil {
		return nil, "not pinned (no taskset)"
	}
	return []string{tool, "-c", cpus}, "pinned to processor " + cpus
}

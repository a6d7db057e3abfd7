package structure

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What is said in the repository's files is for strangers: it names no folder
// of somebody's machine and leaves nothing to be done.

// Spelled so that this file does not find itself.
var unwanted = map[string]*regexp.Regexp{
	"a path of one machine": regexp.MustCompile(`(^|[\s"'=(:` + "`" + `])/(work|root|home|Users)/\w`),
	"an open end":           regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`),
}

func TestTextsAreForStrangers(t *testing.T) {
	for _, file := range tracked(t) {
		text, err := os.ReadFile(filepath.Join(root(t), file))
		if os.IsNotExist(err) {
			continue // deleted, and not yet committed
		}
		if err != nil {
			t.Fatal(err)
		}
		if bytes.IndexByte(text, 0) >= 0 {
			continue // not a text
		}
		for i, line := range strings.Split(string(text), "\n") {
			for what, pattern := range unwanted {
				if pattern.MatchString(line) {
					t.Errorf("%s:%d holds %s: %s", file, i+1, what, strings.TrimSpace(line))
				}
			}
		}
	}
}

// tracked returns the files that git knows; without git, all.
func tracked(t *testing.T) (files []string) {
	t.Helper()
	cmd := exec.Command("git", "ls-files", "-z")
	cmd.Dir = root(t)
	if out, err := cmd.Output(); err == nil {
		return strings.Split(strings.Trim(string(out), "\x00"), "\x00")
	}
	err := fs.WalkDir(os.DirFS(root(t)), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "bin"):
			return fs.SkipDir
		case d.Type().IsRegular():
			files = append(files, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// root is the folder of the root module.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// read returns the text of a file, named relative to the root.
func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root(t), file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

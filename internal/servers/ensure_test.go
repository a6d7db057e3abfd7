//go:build unix

// ensure.sh is run with commands of our own instead of the system's, so that it
// installs nothing.

package servers

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// ensure runs a copy of the script that finds the given commands, each a line of
// shell, and a few harmless ones; nothing else. What it says of postgres depends
// on the machine: the server of the environment stands for it.
func ensure(t *testing.T, commands map[string]string) (output string, err error) {
	t.Helper()
	return ensureWith(t, commands, PostgresEnv+"=postgres://there")
}

func ensureWith(t *testing.T, commands map[string]string, env ...string) (output string, err error) {
	t.Helper()
	bin := t.TempDir()
	all := map[string]string{
		"id": `echo 1000`,
		"tr": `exec /usr/bin/tr "$@"`, "sed": `PATH=/bin:/usr/bin; exec sed "$@"`,
	}
	maps.Copy(all, commands)
	for name, line := range all {
		writeScript(t, filepath.Join(bin, name), "#!/bin/sh\n"+line+"\n")
	}
	source, err := os.ReadFile("ensure.sh")
	if err != nil {
		t.Fatal(err)
	}
	const places = "brew=/opt/homebrew/bin:/usr/local/bin\nsbin=/usr/sbin\n"
	if !strings.Contains(string(source), places) {
		t.Fatalf("ensure.sh lacks the line %q", places)
	}
	script := filepath.Join(t.TempDir(), "ensure.sh")
	writeScript(t, script, strings.Replace(string(source), places, "brew=/nonexistent\nsbin=/nonexistent\n", 1))

	cmd := exec.CommandContext(t.Context(), "/bin/sh", script)
	cmd.Env = append([]string{"PATH=" + bin, "BIN=" + bin}, env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// writeScript makes a new file, and never writes into one that is there.
func writeScript(t *testing.T, path, text string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.WriteString(text)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestEnsureIsSilentIfAllIsThere(t *testing.T) {
	out, err := ensure(t, map[string]string{"redis-server": "exit 0"})
	if err != nil || out != "" {
		t.Errorf("got %q, %v; want nothing", out, err)
	}
}

func TestEnsureExplainsInOneLine(t *testing.T) {
	cases := map[string]map[string]string{
		"neither apt-get nor brew": {},
		"brew":                     {"brew": "exit 1"},
		"sudo asks":                {"apt-get": "exit 1", "timeout": "exit 1", "sudo": "exit 1"},
	}
	for name, commands := range cases {
		out, err := ensure(t, commands)
		if err == nil || strings.Count(out, "\n") != 1 || !strings.Contains(out, "install redis") {
			t.Errorf("%s: got %q, %v; want one line that says what to install, and a failure", name, out, err)
		}
	}
}

// timeout stands for all that is run with root's rights.
func TestEnsureInstallsWhatIsMissing(t *testing.T) {
	const install = `[ "$6 $7 $8" = "install redis-server " ] && echo "#!/bin/sh" >"$BIN/redis-server" && /bin/chmod 700 "$BIN/redis-server"`
	cases := map[string]map[string]string{
		"root":                  {"id": "echo 0"},
		"sudo without password": {"sudo": `[ "$1" = -n ] && shift && "$@"`, "true": "exit 0"},
	}
	for name, commands := range cases {
		commands["apt-get"], commands["timeout"] = "exit 1", install
		out, err := ensure(t, commands)
		if err != nil || !strings.Contains(out, "installing") {
			t.Errorf("%s: got %q, %v; want it to say so and to succeed", name, out, err)
		}
	}
}

// A postgres that is there is not enough: there is to be a pooler in front of it.
func TestEnsureInstallsThePooler(t *testing.T) {
	out, err := ensureWith(t, map[string]string{
		"redis-server": "exit 0", "postgres": "exit 0", "initdb": "exit 0", "id": "echo 0", "apt-get": "exit 1",
		"timeout": `[ "$6 $7 $8" = "install pgbouncer " ] && echo "#!/bin/sh" >"$BIN/pgbouncer" && /bin/chmod 700 "$BIN/pgbouncer"`,
	})
	if err != nil || !strings.Contains(out, "installing") {
		t.Errorf("got %q, %v; want it to say so and to succeed", out, err)
	}
}

func TestEnsureNoticesAFailedInstallation(t *testing.T) {
	out, err := ensure(t, map[string]string{"id": "echo 0", "apt-get": "exit 1", "timeout": "exit 0"})
	if err == nil || !strings.HasSuffix(out, "packages of Redis, PostgreSQL and PgBouncer)\n") {
		t.Errorf("got %q, %v; want a failure that says what to install", out, err)
	}
}

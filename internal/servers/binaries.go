// Where the servers' programs are: in $PATH, else where Debian, Ubuntu and
// Homebrew put them. ensure.sh looks at the same places.

package servers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

var (
	redisPlaces     = []string{"/opt/homebrew/bin", "/usr/local/bin"}
	pgBouncerPlaces = []string{"/usr/sbin", "/opt/homebrew/bin", "/usr/local/bin"}
	postgresPlaces  = []string{"/usr/lib/postgresql/*/bin", "/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin"}
)

// findRedis returns the path of redis-server.
func findRedis() (string, error) {
	if dir := findDir(redisPlaces, "redis-server"); dir != "" {
		return filepath.Join(dir, "redis-server"), nil
	}
	return "", missing("redis-server", "redis-server", "redis")
}

// findPgBouncer returns the path of pgbouncer.
func findPgBouncer() (string, error) {
	if dir := findDir(pgBouncerPlaces, "pgbouncer"); dir != "" {
		return filepath.Join(dir, "pgbouncer"), nil
	}
	return "", missing("pgbouncer", "pgbouncer", "pgbouncer")
}

// findPostgres returns the folder that holds both postgres and initdb: the first
// one of $PATH, else the newest one installed.
func findPostgres() (string, error) {
	if dir := findDir(postgresPlaces, "postgres", "initdb"); dir != "" {
		return dir, nil
	}
	return "", missing("postgres", "postgresql", "postgresql@17")
}

// missing names the program and, for this system, the command that brings it.
func missing(program, debian, brew string) error {
	if runtime.GOOS == "darwin" {
		return fmt.Errorf("%w: %s; install it with: brew install %s", ErrMissing, program, brew)
	}
	return fmt.Errorf("%w: %s; install it with: apt-get install %s", ErrMissing, program, debian)
}

// findDir returns the first folder that holds all programs, or "".
func findDir(places []string, programs ...string) string {
	dirs := filepath.SplitList(os.Getenv("PATH"))
	for _, place := range places {
		found, _ := filepath.Glob(place) // fails on a malformed pattern only
		slices.SortFunc(found, func(a, b string) int { return versionIn(b) - versionIn(a) })
		dirs = append(dirs, found...)
	}
	for _, dir := range dirs {
		if filepath.IsAbs(dir) && !slices.ContainsFunc(programs, func(p string) bool { return !executable(dir, p) }) {
			return dir
		}
	}
	return ""
}

func executable(dir, program string) bool {
	_, err := exec.LookPath(filepath.Join(dir, program))
	return err == nil
}

// versionIn returns the last number in a path: 15 of /usr/lib/postgresql/15/bin.
// A number, not a string, so that 15 is newer than 9.
func versionIn(path string) int {
	numbers := strings.FieldsFunc(path, func(r rune) bool { return r < '0' || r > '9' })
	if len(numbers) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(numbers[len(numbers)-1]) // too large for an int: as good as none
	return n
}

package snapshot_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/internal/snapshot"
	"github.com/fastopt/fastopt-go/tiers"
)

// A writer that is killed, as by the kernel: this test binary plays it.

const (
	writerEnv = "FASTOPT_SNAPSHOT_WRITER" // the path it writes
	fromEnv   = "FASTOPT_SNAPSHOT_FROM"   // the number it begins with
	killsEnv  = "FASTOPT_SNAPSHOT_KILLS"  // how many; 1,000 take a minute at most
)

func TestMain(m *testing.M) {
	if path := os.Getenv(writerEnv); path != "" {
		fmt.Fprintln(os.Stderr, writeOn(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// numbered is a file of some size that holds n.
func numbered(n int) snapshot.Snapshot {
	s := sample()
	for i := range 200 {
		s.Entries = append(s.Entries, snapshot.Entry{Name: fmt.Sprint("n", i), Type: "int", Kind: tiers.Value, Data: fmt.Append(nil, n)})
	}
	return s
}

// writeOn writes numbered files as fast as it can, and tells of each once it is written.
func writeOn(path string) error {
	f, err := snapshot.Open(path)
	if err != nil {
		return err
	}
	from, err := strconv.Atoi(os.Getenv(fromEnv))
	for n := from; err == nil; n++ {
		var raw []byte
		if raw, err = snapshot.Encode(numbered(n), nil); err == nil {
			err = f.Write(raw)
		}
		if err == nil {
			_, err = fmt.Println(n)
		}
	}
	return err
}

// Killed at any instant, a writer leaves the newest file or the one before it,
// whole, and nothing that keeps the next one from going on.
func TestKilledWritersLeaveTheNewestOrTheOneBefore(t *testing.T) {
	kills := 100
	if text := os.Getenv(killsEnv); text != "" {
		var err error
		kills, err = strconv.Atoi(text)
		must(t, err)
	}
	binary, err := os.Executable()
	must(t, err)
	path := filepath.Join(t.TempDir(), "s")
	last, newest, leftovers := 0, 0, 0
	start := time.Now()
	for range kills {
		writer := exec.CommandContext(t.Context(), binary)
		writer.Env = append(os.Environ(), writerEnv+"="+path, fromEnv+"="+strconv.Itoa(last+1))
		var complaint strings.Builder
		writer.Stderr = &complaint
		out, err := writer.StdoutPipe()
		must(t, err)
		must(t, writer.Start())
		lines := bufio.NewScanner(out)
		kill := func() { writer.Process.Kill() }
		if rand.IntN(10) == 0 { // some before they have written anything
			time.AfterFunc(rand.N(10*time.Millisecond), kill)
		}
		acknowledged := last
		for lines.Scan() {
			if acknowledged == last {
				time.AfterFunc(rand.N(15*time.Millisecond), kill)
			}
			acknowledged, err = strconv.Atoi(lines.Text())
			must(t, err)
		}
		if writer.Wait(); complaint.Len() > 0 {
			t.Fatalf("the writer: %s", complaint.String())
		}
		if _, err := os.Stat(path + ".tmp"); err == nil {
			leftovers++
		}
		n := numberIn(t, path)
		if n != acknowledged && n != acknowledged+1 {
			t.Fatalf("%d was acknowledged, and the file holds %d", acknowledged, n)
		}
		if n > acknowledged {
			newest++
		}
		last = n
	}
	t.Logf("%d kills in %v: %d writes, %d were left half done, %d done and not told", kills, time.Since(start).Round(time.Millisecond), last, leftovers, newest)
	if last == 0 || leftovers == 0 {
		t.Error("no writer was killed at work")
	}
}

// numberIn opens the file as the next owner does, and returns what it holds; 0 if there is none.
func numberIn(t *testing.T, path string) int {
	t.Helper()
	f := open(t, path)
	defer f.Close()
	raw, err := f.Read()
	must(t, err)
	if raw == nil {
		return 0
	}
	s, err := snapshot.Decode(raw, nil)
	must(t, err)
	n, err := strconv.Atoi(string(s.Entries[len(s.Entries)-1].Data))
	must(t, err)
	for _, e := range s.Entries[3:] {
		if string(e.Data) != fmt.Sprint(n) {
			t.Fatalf("%s is %s in the file of %d", e.Name, e.Data, n)
		}
	}
	return n
}

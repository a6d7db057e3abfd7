package endtoend

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/point"
	"github.com/fastopt/fastopt-go/tiers/postgres"
	"github.com/fastopt/fastopt-go/tiers/redis"
)

// A writer that is killed, as by the kernel: this test binary plays it, as it
// plays a process that stands still.

const (
	writerEnv   = "FASTOPT_ENDTOEND_WRITER" // the point at which it stands still
	redisEnv    = "FASTOPT_ENDTOEND_REDIS"
	postgresEnv = "FASTOPT_ENDTOEND_POSTGRES"
)

func TestMain(m *testing.M) {
	if at := os.Getenv(writerEnv); at != "" {
		fmt.Println(write(point.Point(at)))
		os.Exit(1)
	}
	if become := os.Getenv(pausedEnv); become != "" {
		if err := live(become); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// write sets n to 2, and stands still at a point for ever. It returns only if that fails.
func write(at point.Point) error {
	cache, err := redis.Open(redis.Config{URL: os.Getenv(redisEnv)})
	if err != nil {
		return err
	}
	source, err := postgres.Open(postgres.Config{URL: os.Getenv(postgresEnv)})
	if err != nil {
		return err
	}
	p, err := open(fastopt.Config{Namespace: "shop", Cache: cache, Source: source, Relay: fastopt.Never})
	if err != nil {
		return err
	}
	point.Set(func(here point.Point, _ any, name string) {
		if here == at && name == "n" {
			fmt.Println("here")
			select {}
		}
	})
	_, err = p.n.Set(context.Background(), 2)
	return fmt.Errorf("not stopped at %q: %v", at, err)
}

// R34: a writer that is killed after its commit and before its fill, wherever it
// stands, leaves a row that reaches everyone all the same.
func TestR34AWriterKilledAfterItsCommit(t *testing.T) {
	for _, at := range []point.Point{point.WriteCommit, point.WriteFill, point.FillSend} {
		t.Run(string(at), func(t *testing.T) {
			w := newWorld(t)
			a, b, onlooker := w.start(), w.start(), w.config().Cache
			relay(t, 2*time.Second, a, b)
			set(t, a, 1)
			b.sees(t, 2*time.Second, 1)
			binary, err := os.Executable()
			must(t, err)
			writer := exec.CommandContext(t.Context(), binary)
			writer.Env = append(os.Environ(), writerEnv+"="+string(at), redisEnv+"="+w.redis.URL(), postgresEnv+"="+w.pg.URL())
			out, err := writer.StdoutPipe()
			must(t, err)
			must(t, writer.Start())
			line, err := bufio.NewReader(out).ReadString('\n')
			if err != nil || line != "here\n" {
				t.Fatalf("the writer: %q, %v", line, err)
			}
			must(t, writer.Process.Kill())
			writer.Wait()
			start := time.Now()
			for _, p := range []*process{a, b} {
				p.sees(t, 2*time.Second, 2)
			}
			within(t, 2*time.Second, "Redis has it", func() bool { return w.cached(onlooker, "n") == "2" })
			t.Logf("right %v after the kill", time.Since(start))
		})
	}
}

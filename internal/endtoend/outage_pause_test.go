package endtoend

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/tiers/postgres"
	"github.com/fastopt/fastopt-go/tiers/redis"
)

// A process that stands still for three times TTL and grace, as one does whose
// machine is suspended: when it goes on, Get gives the old value until the
// runtime has run its timers, and not a moment longer. This test binary plays it.

const (
	pausedEnv  = "FASTOPT_ENDTOEND_PAUSED" // what n reads when all is over
	pauseTTL   = 800 * time.Millisecond
	pauseGrace = 700 * time.Millisecond
	pause      = 3 * (pauseTTL + pauseGrace)
)

// A pauseReport is what the process tells of its awakening.
type pauseReport struct {
	Paused time.Duration
	Timer  time.Duration // from the awakening until a timer fired that was long due
	Get    time.Duration // … until Get gave the old value for the last time
	Wrong  string        // what Inspect said that cannot be
	Stats  fastopt.Stats
}

// live runs until the process was paused and n has become what it is to become.
func live(become string) error {
	cache, err := redis.Open(redis.Config{URL: os.Getenv(redisEnv)})
	if err != nil {
		return err
	}
	source, err := postgres.Open(postgres.Config{URL: os.Getenv(postgresEnv)})
	if err != nil {
		return err
	}
	p, err := open(fastopt.Config{Namespace: "shop", Cache: cache, Source: source, TTL: pauseTTL, Grace: pauseGrace})
	if err != nil {
		return err
	}
	if p.n.Get() != 1 {
		return errors.New("n is not 1 to begin with")
	}
	start := time.Now()
	var fired atomic.Int64 // since start: the first timer after the pause
	ticking := make(chan struct{})
	go func() {
		last := time.Now()
		close(ticking)
		for now := last; now.Sub(last) <= pause/2; now = time.Now() {
			last = now
			<-time.After(time.Millisecond)
		}
		fired.Store(int64(time.Since(start)))
	}()
	<-ticking
	report := p.awaken(start, become)
	if report.Timer = time.Duration(fired.Load()) - report.Timer; fired.Load() == 0 {
		return errors.New("no timer fired")
	}
	report.Stats = p.Stats()
	text, err := json.Marshal(report)
	if err == nil {
		_, err = fmt.Printf("%s\n", text)
	}
	return errors.Join(err, p.Close())
}

// awaken reads n without a break until it is what it is to become. The report's
// Timer is the instant of the awakening.
func (p *process) awaken(start time.Time, become string) (report pauseReport) {
	var awake, settled time.Time
	last := time.Now()
	fmt.Println("here")
	for settled.IsZero() || time.Since(settled) < pauseTTL {
		v := p.n.Get()
		now := time.Now()
		if gap := now.Sub(last); gap > pause/2 {
			awake, report.Paused, report.Timer = now, gap, now.Sub(start)
		}
		last = now
		if awake.IsZero() {
			continue
		}
		if v == 1 {
			report.Get = now.Sub(awake)
		} else if settled.IsZero() && fmt.Sprint(v) == become {
			settled = now
		}
		// Inspect and Load read the clock, and are exact.
		if r := p.n.Inspect(); r.Value == 1 && r.State != fastopt.Expired && r.Age >= pauseTTL+pauseGrace {
			report.Wrong = fmt.Sprintf("%+v", r)
		}
		if time.Since(awake) > 5*time.Second {
			report.Wrong = fmt.Sprintf("%+v", p.n.Inspect())
			return report
		}
	}
	return report
}

func TestR15AProcessThatStoodStillServesNothingTooOld(t *testing.T) {
	noGoroutineLeft(t)
	for _, c := range []struct {
		name, become string
		meanwhile    func(*world)
	}{
		{"a change meanwhile", "2", func(w *world) {
			w.sql(`UPDATE fastopt.options SET value = '2' WHERE namespace = 'shop' AND name = 'n'`)
			must(w.t, w.redisDo("DEL", redisKey))
		}},
		{"both tiers dead meanwhile", "-1", func(w *world) {
			must(w.t, w.redis.Kill())
			must(w.t, w.pg.Kill())
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorldBeside(t)
			w.sql(fmt.Sprintf(upsert, 1))
			binary, err := os.Executable()
			must(t, err)
			sleeper := exec.CommandContext(ctx, binary)
			sleeper.Env = append(os.Environ(), pausedEnv+"="+c.become, redisEnv+"="+w.redis.URL(), postgresEnv+"="+w.pg.URL())
			sleeper.Stderr = os.Stderr
			out, err := sleeper.StdoutPipe()
			must(t, err)
			must(t, sleeper.Start())
			t.Cleanup(func() { sleeper.Process.Kill(); sleeper.Wait() })
			says := bufio.NewReader(out)
			if line, err := says.ReadString('\n'); err != nil || line != "here\n" {
				t.Fatalf("the process: %q, %v", line, err)
			}
			must(t, sleeper.Process.Signal(syscall.SIGSTOP))
			c.meanwhile(w)
			time.Sleep(pause) // it is what is tested
			must(t, sleeper.Process.Signal(syscall.SIGCONT))
			line, err := says.ReadBytes('\n')
			must(t, err)
			var r pauseReport
			if err := json.Unmarshal(line, &r); err != nil {
				t.Fatalf("the process: %s", line)
			}
			t.Logf("stood still for %v; after that a timer fired within %v, the old value was read for %v", r.Paused, r.Timer, r.Get)
			if r.Paused < pause/2 || r.Wrong != "" {
				t.Errorf("%+v", r)
			}
			if r.Get > max(r.Timer, 0)+expirerLag+room {
				t.Error("the old value was read for too long")
			}
		})
	}
}

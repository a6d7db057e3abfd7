//go:build unix

// Replicas and sentinels: what lags is lost at a failover, and what is gone is
// replaced.

package servers

import (
	"context"
	"errors"
	"testing"
)

func replicaOf(t *testing.T, r *RedisServer) *RedisServer {
	t.Helper()
	replica, err := r.StartReplica(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	StopLater(t, replica)
	return replica
}

// wantSoon is wantAnswer for what arrives by replication.
func wantSoon(t *testing.T, r *RedisServer, command, want string) {
	t.Helper()
	got, err := "", error(nil)
	if !eventually(patience, func() bool { got, err = ask(r.Addr(), command, patience); return err == nil && got == want }) {
		t.Fatalf("%s: got %q, %v; want %q", command, got, err, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestPromotedReplicaLacksWhatWasWithheld(t *testing.T) {
	master := PrivateRedis(t, Options{})
	wantAnswer(t, master, "SET before 1", "+OK")
	replica := replicaOf(t, master)
	wantAnswer(t, replica, "EXISTS before", ":1")
	wantAnswer(t, master, "SET live 1", "+OK")
	wantSoon(t, replica, "EXISTS live", ":1")

	must(t, replica.WithholdReplication(t.Context()))
	wantAnswer(t, master, "SET lost 1", "+OK")
	must(t, replica.Promote(t.Context()))
	wantAnswer(t, replica, "SET own 1", "+OK") // it takes writes
	wantAnswer(t, replica, "EXISTS before live lost", ":2")

	must(t, master.Follow(t.Context(), replica)) // the old master gives up what the new one lacks
	wantAnswer(t, master, "EXISTS before live own lost", ":3")
}

func TestRestartedReplicaSyncsAgain(t *testing.T) {
	master := PrivateRedis(t, Options{})
	replica := replicaOf(t, master)
	must(t, replica.WithholdReplication(t.Context()))
	wantAnswer(t, master, "SET missed 1", "+OK")
	must(t, replica.Restart(t.Context()))
	wantSoon(t, replica, "EXISTS missed", ":1")
}

func TestSentinelsReplaceADeadMaster(t *testing.T) {
	s := PrivateSentinel(t, 2)
	first, err := s.AwaitMaster(t.Context(), nil)
	must(t, err)
	if first != s.Nodes()[0] || len(s.Nodes()) != 3 || len(s.Addrs()) != 3 {
		t.Fatalf("the master is %s of %d servers, %d sentinels; want the first of 3, and 3", first.Addr(), len(s.Nodes()), len(s.Addrs()))
	}
	wantAnswer(t, first, "SET before 1", "+OK")
	for _, replica := range s.Nodes()[1:] {
		wantSoon(t, replica, "EXISTS before", ":1")
		must(t, replica.WithholdReplication(t.Context()))
	}
	wantAnswer(t, first, "SET lost 1", "+OK")
	must(t, first.Kill())
	second, err := s.AwaitMaster(t.Context(), first)
	must(t, err)
	wantAnswer(t, second, "EXISTS before lost", ":1")
	wantAnswer(t, second, "SET own 1", "+OK")

	must(t, first.Restart(t.Context())) // empty, and a master in its own eyes
	must(t, first.Follow(t.Context(), second))
	wantAnswer(t, first, "EXISTS before own lost", ":2")
	if now, err := s.AwaitMaster(t.Context(), first); err != nil || now != second {
		t.Errorf("the master is %v, %v; want the second", now, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), impatience)
	defer cancel()
	if _, err := s.AwaitMaster(ctx, second); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v; want to wait for another master than the second", err)
	}
}

func TestReplicasNeedAServerOfOnesOwn(t *testing.T) {
	r, err := externalRedis("redis://127.0.0.1:1")
	must(t, err)
	_, start := r.StartReplica(t.Context(), Options{})
	for name, err := range map[string]error{
		"StartReplica": start, "Promote": r.Promote(t.Context()), "Follow": r.Follow(t.Context(), r),
		"WithholdReplication": r.WithholdReplication(t.Context()),
	} {
		if !errors.Is(err, ErrExternal) {
			t.Errorf("%s: got %v, want ErrExternal", name, err)
		}
	}
}

func TestAnswersOfRedisAreUnderstood(t *testing.T) {
	addr := PrivateRedis(t, Options{}).Addr()
	list, err := callList(t.Context(), addr, "EVAL", "return {1, 'two', false, {'three'}}", "0")
	if err != nil || at(list, 0) != "1" || at(list, 1) != "two" || at(list, 2) != "" || at(list, 3) != "[three]" || at(list, 4) != "" {
		t.Errorf("got %v, %v", list, err)
	}
	if _, err := call(t.Context(), addr, "NONSENSE"); err == nil {
		t.Error("an error reply is none")
	}
	ctx, cancel := context.WithTimeout(t.Context(), impatience)
	defer cancel()
	if _, err := call(ctx, addr, "BLPOP", "none", "0"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the end of the context", err)
	}
}

package fastopt_test

import (
	"context"
	"fmt"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

func Example() {
	var opts fastopt.Registry
	sampleRate := fastopt.New(&opts, "events.sample-rate", 1.0)

	ctx := context.Background()
	m, err := fastopt.Open(ctx, fastopt.Config{
		Namespace: "checkout",
		Cache:     memory.NewCache(),  // redis.Open in production
		Source:    memory.NewSource(), // postgres.Open in production
	}, &opts)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()

	fmt.Println(sampleRate.Get())
	if _, err := sampleRate.Set(ctx, 0.25, fastopt.By("alice", "too many events")); err != nil {
		fmt.Println(err)
	}
	fmt.Println(sampleRate.Get())
	// Output:
	// 1
	// 0.25
}

func ExampleDeclareFamily() {
	var opts fastopt.Registry
	limit := fastopt.DeclareFamily(&opts, fastopt.FamilySpec[int]{Prefix: "tenant.limit", Default: 100, MaxEntries: 1000})

	ctx := context.Background()
	m, err := fastopt.Open(ctx, fastopt.Config{Source: memory.NewSource()}, &opts)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()

	limit.Set(ctx, "42", 250)
	fmt.Println(limit.Load(ctx, "42").Value, limit.Load(ctx, "7").Value)
	// Output: 250 100
}

func ExampleFamily_LoadMany() {
	var opts fastopt.Registry
	limit := fastopt.DeclareFamily(&opts, fastopt.FamilySpec[int]{Prefix: "tenant.limit", Default: 100, MaxEntries: 10_000})

	ctx := context.Background()
	m, err := fastopt.Open(ctx, fastopt.Config{Source: memory.NewSource()}, &opts)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()

	limit.Set(ctx, "42", 250)
	readings, err := limit.LoadMany(ctx, "42", "7") // one request per tier for both
	fmt.Println(readings["42"].Value, readings["7"].Value, err)

	_, err = limit.LoadMany(ctx, "42", "new\nline")
	fmt.Println(err)
	// Output:
	// 250 100 <nil>
	// fastopt: load option "tenant.limit/new\nline": invalid name: the key has a control character at byte 3
}

func ExampleOption_Watch() {
	var opts fastopt.Registry
	level := fastopt.New(&opts, "log.level", "info")

	ctx := context.Background()
	m, err := fastopt.Open(ctx, fastopt.Config{Source: memory.NewSource()}, &opts)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()

	for r := range level.Watch(ctx) { // the current reading first
		fmt.Println(r.Value, r.Origin)
		if r.Value == "debug" {
			break
		}
		level.Set(ctx, "debug")
	}
	// Output:
	// info default
	// debug write
}

func ExampleTryDeclare() {
	var opts fastopt.Registry
	_, err := fastopt.TryDeclare(&opts, fastopt.Spec[int]{
		Name: "http.max-body", Default: 0, Check: fastopt.Between(1, 64<<20),
	})
	fmt.Println(err)
	// Output: fastopt: declare option "http.max-body": default: invalid value: must be between 1 and 67108864
}

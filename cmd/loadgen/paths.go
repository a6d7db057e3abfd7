package main

import (
	"context"
	"time"

	"github.com/fastopt/fastopt-go/internal/faults"
)

// What breaks on the way between processes and servers: it is slow, or swallows
// everything, both ways or one, or ends just when a commit is to be acknowledged.
// It has bitten if the proxy says what came of it.

// slowPath is how much later answers come: too late for the cache's timeout, and
// for all but the luckiest answers of the source.
const slowPath = 200 * time.Millisecond

func (s *localStores) pathFaults() []fault {
	cacheOut, sourceOut := effects{cacheOut: true}, effects{sourceOut: true}
	redis := func(name string, flows ...faults.Flow) fault {
		f := blackHole(s.redisPath, flows...)
		f.name, f.effects, f.uses, f.least = name, cacheOut, []resource{cachePath}, noticed
		return f
	}
	postgres := func(name string, flows ...faults.Flow) fault {
		f := blackHole(s.postgresPath, flows...)
		f.name, f.effects, f.uses, f.least = name, sourceOut, []resource{sourcePath}, unanswered
		return f
	}
	redisHole, postgresHole := redis("redis black-holed"), postgres("postgres black-holed")
	slowRedis := slow(s.redisPath)
	slowRedis.name, slowRedis.uses, slowRedis.effects = "redis slow", []resource{cachePath}, effects{cacheOut: true, partly: true}
	slowPostgres := slow(s.postgresPath)
	slowPostgres.name, slowPostgres.uses, slowPostgres.effects = "postgres slow", []resource{sourcePath}, effects{sourceOut: true, partly: true}
	return []fault{
		redisHole, redis("redis never hears", faults.ToServer), redis("redis is never heard", faults.ToClient),
		postgresHole, postgres("postgres never hears", faults.ToServer), postgres("postgres is never heard", faults.ToClient),
		slowRedis, slowPostgres,
		bothOut("both black-holed beyond grace", redisHole, postgresHole),
		s.lostAcknowledgement(),
	}
}

func blackHole(p *faults.Proxy, flows ...faults.Flow) fault {
	var before int64
	return fault{
		strike: func(context.Context) error { before = dropped(p); p.Drop(flows...); return nil },
		mend:   func(context.Context) error { return p.Heal() },
		bitten: func(context.Context) bool { return dropped(p) > before },
	}
}

func dropped(p *faults.Proxy) int64 {
	return p.Traffic(faults.ToServer).Dropped + p.Traffic(faults.ToClient).Dropped
}

func slow(p *faults.Proxy) fault {
	var before int64
	return fault{
		strike: func(context.Context) error {
			before = p.Traffic(faults.ToClient).Delayed
			p.Delay(faults.ToClient, slowPath)
			return nil
		},
		mend:   func(context.Context) error { return p.Heal() },
		bitten: func(context.Context) bool { return p.Traffic(faults.ToClient).Delayed > before },
	}
}

// lostAcknowledgement cuts connections after the server has committed a write and
// before it says so, again and again.
func (s *localStores) lostAcknowledgement() fault {
	p := s.postgresPath
	cuts := func() int64 { return p.Traffic(faults.ToClient).Cuts }
	order := func() {
		p.CutAt(faults.ToClient, faults.CommandComplete("INSERT 0 1"), faults.ReadyForQuery())
	}
	var before int64
	return fault{name: "acknowledgements lost", uses: []resource{sourcePath}, effects: effects{sourceOut: true, partly: true},
		strike: func(context.Context) error { before = cuts(); order(); return nil },
		during: func(ctx context.Context) error {
			seen := before
			for end := time.Now().Add(time.Second); time.Now().Before(end); pause(ctx, 5*time.Millisecond) {
				if n := cuts(); n > seen {
					seen = n
					pause(ctx, 100*time.Millisecond)
					order()
				}
			}
			return nil
		},
		mend:   func(context.Context) error { return p.Heal() },
		bitten: func(context.Context) bool { return cuts() > before },
	}
}

package sim

import (
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
)

// Budgets: what one process may ask the source, however much of the world is
// broken (I8, I20). Counted where requests reach the fake tier, by a bucket of the
// judge's own.

// budgets from which a world draws its own. The zero one is the library's.
var budgets = []fastopt.Budget{{}, {}, {Rate: 10, Burst: 3, AtOnce: 1}, {Rate: 20, Burst: 5, AtOnce: 2}}

// A bucket is a process' right to ask the source.
type bucket struct {
	tokens float64
	at     time.Duration // when it had them
}

// limits are the draw's, complete.
func (d draw) limits() fastopt.Budget {
	if b := d.budget; b != (fastopt.Budget{}) {
		return b
	}
	return fastopt.Budget{Rate: 5, Burst: 20, AtOnce: 2}
}

// spendLocked judges that the process may ask the source once more. Requests that
// were admitted may wait at a point before they are sent, as many as are under way.
func (p *process) spendLocked() {
	limit, b, now := p.w.draw.limits(), &p.is.bucket, p.w.now()
	b.tokens = min(float64(limit.Burst), b.tokens+limit.Rate*(now-b.at).Seconds())
	b.at = now
	b.tokens--
	if b.tokens < -float64(limit.AtOnce) {
		p.w.judge.fail("I8: p%d asks the source more often than %v per second after %d", p.id, limit.Rate, limit.Burst)
	}
}

// underWay judges how many requests to the source p has under way.
func (j *judge) underWay(p *process) {
	n := 0
	for _, it := range j.w.parked {
		if it.p == p && (it.what == "source load" || it.what == "source load"+answered) {
			n++
		}
	}
	if n > j.w.draw.limits().AtOnce {
		j.fail("I8: p%d has %d requests to the source under way", p.id, n)
	}
}

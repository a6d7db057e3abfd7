// Keys, values and the order in which they are asked for. All of it is the same
// in each run.

package peers

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

const keyDigits = 7

// Key returns the key with index i, below ten million: 22 bytes.
func Key(i int) string { return fmt.Sprintf("service.option.%0*d", keyDigits, i) }

// Keys returns new copies of the first size keys.
func Keys(size int) []string {
	keys := make([]string, size)
	for i := range keys {
		keys[i] = Key(i)
	}
	return keys
}

var cycles sync.Map // of int: []int, what values returned

// values returns the values of size keys: a random cycle through all of them
// (Sattolo's algorithm), so that a walk from value to value visits every key.
func values(size int) []int {
	if v, ok := cycles.Load(size); ok {
		return v.([]int)
	}
	random := rand.New(rand.NewPCG(3, 4))
	cycle := make([]int, size)
	for i := range cycle {
		cycle[i] = i
	}
	for i := size - 1; i > 0; i-- {
		j := random.IntN(i)
		cycle[i], cycle[j] = cycle[j], cycle[i]
	}
	v, _ := cycles.LoadOrStore(size, cycle)
	return v.([]int)
}

// A truth is where values come from: it answers at once and counts its answers.
type truth struct {
	values []int
	asked  atomic.Int64
}

func newTruth(size int) *truth { return &truth{values: values(size)} }

// load returns the value of a key: what a peer does on a miss.
func (t *truth) load(key string) int {
	t.asked.Add(1)
	return t.value(key)
}

func (t *truth) value(key string) int {
	i, err := strconv.Atoi(key[len(key)-keyDigits:])
	if err != nil {
		panic(err) // no key of ours
	}
	return t.values[i]
}

// Misses is Store's.
func (t *truth) Misses() int { return int(t.asked.Load()) }

// expected is what Sum returns for ask.
func expected(ask Ask, size int) (sum int) {
	v := values(size)
	for _, i := range ask.At {
		sum += v[i]
	}
	return sum
}

// An Order says which keys are asked for how often.
type Order string

const (
	Hot     Order = "hot" // one key
	Zipf    Order = "zipf"
	Uniform Order = "uniform"
)

// zipfExponent is that of the tables: the most frequent of ten thousand keys is
// one read in eight.
const zipfExponent = 1.1

// NewAsk returns n reads of size keys. Who asks is the seed: each goroutine has
// an order of its own.
func NewAsk(o Order, size, n int, seed uint64) Ask {
	random := rand.New(rand.NewPCG(1, seed))
	zipf := rand.NewZipf(random, zipfExponent, 1, uint64(size-1))
	ask := Ask{At: make([]int, n), Keys: make([]string, n)}
	for i := range n {
		switch o {
		case Hot:
			ask.At[i] = hotKey
		case Zipf:
			ask.At[i] = int(zipf.Uint64())
		case Uniform:
			ask.At[i] = random.IntN(size)
		}
		ask.Keys[i] = strings.Clone(Key(ask.At[i]))
	}
	return ask
}

// hotKey is the one that Hot asks for. The next index is its neighbour.
const hotKey = 42

// part returns n reads from at on.
func (a Ask) part(at, n int) Ask { return Ask{At: a.At[at : at+n], Keys: a.Keys[at : at+n]} }

// sum and walk are the loops of those who read by key. They and get are inlined
// into each store's method.

func sum(ask Ask, get func(key string) int) (total int) {
	for _, key := range ask.Keys {
		total += get(key)
	}
	return total
}

func walk(keys []string, at, n int, get func(key string) int) int {
	for range n {
		at = get(keys[at])
	}
	return at
}

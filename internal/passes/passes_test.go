package passes

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestRatioIsOfTheSamePassAndForgetsDisturbance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pass := 0
		// The machine gets slower from pass to pass, and a third of the passes
		// is disturbed for one rival alone.
		base := func(n int) { pass++; time.Sleep(time.Duration(n*(10+pass)) * time.Millisecond) }
		twice := func(n int) {
			d := time.Duration(2*n*(10+pass)) * time.Millisecond
			if pass%3 == 0 {
				d += time.Hour
			}
			time.Sleep(d)
		}
		// With three rivals, the second follows the first two times of three.
		f := Time(Passes*10, base, twice, func(int) {})
		if f[0].Ratio != 1 || f[1].Ratio < 1.9 || f[1].Ratio > 2.1 || f[2].Ratio > 0.001 {
			t.Errorf("got %+v, want ratios 1, 2 and 0", f)
		}
		if want := 61e6; f[0].NS < want*0.9 || f[0].NS > want*1.1 {
			t.Errorf("the median of the first is %v ns, want about %v", f[0].NS, want)
		}
	})
}

func TestRivalsTakeTurnsInBeginningAndDoAllTheWork(t *testing.T) {
	var order []int
	var done [3]int
	rival := func(i int) Rival {
		return func(n int) { order = append(order, i); done[i] += n }
	}
	Time(1000, rival(0), rival(1), rival(2))
	if want := []int{0, 1, 2, 1, 2, 0, 2, 0, 1}; !slices.Equal(order[:9], want) {
		t.Errorf("turns %v, want %v", order[:9], want)
	}
	for i, n := range done {
		if n < 1000 {
			t.Errorf("rival %d did %d of 1000 operations", i, n)
		}
	}
}

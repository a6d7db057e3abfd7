package main

import "testing"

func TestPercentiles(t *testing.T) {
	var h histogram
	if h.percentile(0.5) != 0 {
		t.Fatal("an empty histogram has no median")
	}
	for v := range int64(100_000) {
		h.add(v + 1)
	}
	for _, c := range []struct {
		q    float64
		want int64
	}{{0, 1}, {0.5, 50_000}, {0.9, 90_000}, {0.99, 99_000}, {0.9999, 99_990}, {1, 100_000}} {
		got := h.percentile(c.q)
		if diff := float64(got-c.want) / float64(c.want); diff < 0 || diff > 1.0/64 {
			t.Errorf("percentile(%v) = %d, want %d or at most 1/64 more", c.q, got, c.want)
		}
	}
}

func TestPercentilesOfFew(t *testing.T) {
	var h, sum histogram
	h.add(7)
	h.add(1 << 40)
	sum.merge(&h)
	if got := sum.percentile(0.5); got != 7 {
		t.Errorf("the lower of two is the median: got %d", got)
	}
	if got := sum.percentile(0.99); got != 1<<40 {
		t.Errorf("the maximum is exact: got %d", got)
	}
}

func TestBucketsAreInOrder(t *testing.T) {
	for b := range 64 * 50 {
		if got := bucketOf(floorOf(b)); got != b {
			t.Fatalf("the least value of bucket %d falls into bucket %d", b, got)
		}
		if got := bucketOf(floorOf(b+1) - 1); got != b {
			t.Fatalf("the greatest value of bucket %d falls into bucket %d", b, got)
		}
	}
}

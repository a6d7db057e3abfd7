package memory_test

import (
	"testing"

	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/memory"
	"github.com/fastopt/fastopt-go/tiers/tiertest"
)

func TestSourceKeepsTheContract(t *testing.T) {
	tiertest.TestSource(t, func(*testing.T) tiers.Source { return memory.NewSource() })
}

func TestCacheKeepsTheContract(t *testing.T) {
	tiertest.TestCache(t, func(*testing.T) tiers.Cache { return memory.NewCache() })
}

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each bug can still be planted: what it replaces stands in the library once.
func TestEditsApply(t *testing.T) {
	names := map[string]bool{}
	for _, m := range mutants {
		if names[m.name] {
			t.Errorf("two bugs are called %s", m.name)
		}
		names[m.name] = true
		for _, e := range m.edits {
			data, err := os.ReadFile(filepath.Join("..", "..", "..", e.file))
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(data), e.old); n != 1 {
				t.Errorf("%s: %s has the text to replace %d times: %q", m.name, e.file, n, e.old)
			}
		}
	}
}

//go:build unix

// The template is built once, as a whole, again when it is broken, and never
// where others can write.

package servers

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// ownCache makes an empty folder the user's cache and returns the template that
// would stand there.
func ownCache(t *testing.T) (template, string) {
	t.Helper()
	cache, err := os.MkdirTemp(temporary(), "fastopt-test-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(cache) })
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv("HOME", cache) // where the cache is found on macOS
	found, err := findPrograms()
	if err != nil {
		t.Fatal(err)
	}
	tmpl := template{found}
	place, err := tmpl.place(t.Context())
	if err != nil || place == "" {
		t.Fatalf("no place for a template: %v", err)
	}
	return tmpl, place
}

func TestBrokenTemplateIsBuiltAgain(t *testing.T) {
	_, place := ownCache(t)
	damages := map[string]func() error{
		"none there": func() error { return os.RemoveAll(place) },
		"truncated":  func() error { return os.Truncate(filepath.Join(place, "data/global/pg_control"), 100) },
	}
	for _, name := range []string{"none there", "truncated"} {
		if err := damages[name](); err != nil {
			t.Fatal(err)
		}
		p := PrivatePostgres(t, Options{})
		if got := number(t, p.URL(), "SELECT 1"); got != 1 {
			t.Errorf("%s: got %d, want 1", name, got)
		}
		if !intact(place) {
			t.Errorf("%s: the template was not built again", name)
		}
	}
	wantOnly(t, place)
}

// fakeTemplate makes something that counts as an intact template.
func fakeTemplate(t *testing.T, content string) (place string) {
	t.Helper()
	place = filepath.Join(t.TempDir(), "template")
	if err := os.MkdirAll(filepath.Join(place, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(place, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("data/file", content)
	files, err := listing(place)
	if err != nil {
		t.Fatal(err)
	}
	write("listing", files)
	if !intact(place) {
		t.Fatal("the fake template is not intact")
	}
	return place
}

func TestBrokenTemplateIsNoticed(t *testing.T) {
	damages := map[string]func(place string) error{
		"no listing":   func(place string) error { return os.Remove(place + "/listing") },
		"shorter":      func(place string) error { return os.Truncate(place+"/data/file", 1) },
		"a file less":  func(place string) error { return os.Remove(place + "/data/file") },
		"a file more":  func(place string) error { return os.WriteFile(place+"/data/more", nil, 0o600) },
		"other rights": func(place string) error { return os.Chmod(place+"/data/file", 0o666) },
		"no folder":    os.RemoveAll,
	}
	for name, damage := range damages {
		place := fakeTemplate(t, "content")
		if err := damage(place); err != nil {
			t.Fatal(err)
		}
		if intact(place) {
			t.Errorf("%s: the template counts as intact", name)
		}
		next := fakeTemplate(t, "content")
		if err := replace(next, place); err != nil || !intact(place) {
			t.Errorf("%s: not replaced: %v", name, err)
		}
	}
}

func TestFileInTheTemplatesPlaceIsReplaced(t *testing.T) {
	place := filepath.Join(t.TempDir(), "place")
	if err := os.WriteFile(place, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := replace(fakeTemplate(t, "content"), place); err != nil || !intact(place) {
		t.Errorf("not replaced: %v", err)
	}
}

// wantOnly checks that the cache holds the template and no half of one.
func wantOnly(t *testing.T, place string) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(filepath.Dir(place), "*"))
	if err != nil || len(all) != 1 || all[0] != place {
		t.Errorf("the cache holds %v, %v; want only %s", all, err, place)
	}
}

func TestTemplateIsInstalledOnceAsAWhole(t *testing.T) {
	tmpl, place := ownCache(t)
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			if err := tmpl.install(t.Context(), place); err != nil {
				t.Error(err)
			}
			if !intact(place) {
				t.Error("the template is not intact after install")
			}
		})
	}
	group.Wait()
	wantOnly(t, place)
}

// An intact template is never moved away: another process may be copying it.
func TestReplaceLeavesAnIntactTemplate(t *testing.T) {
	place := filepath.Join(t.TempDir(), "place")
	for _, content := range []string{"first", "other"} {
		if err := replace(fakeTemplate(t, content), place); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(filepath.Join(place, "data", "file"))
	if err != nil || string(got) != "first" {
		t.Errorf("got %q, %v; want the first template", got, err)
	}
}

func TestTemplateOthersCouldWriteIsNotUsed(t *testing.T) {
	tmpl, place := ownCache(t)
	if err := os.Chmod(filepath.Dir(place), 0o777); err != nil {
		t.Fatal(err)
	}
	if got, err := tmpl.place(t.Context()); err != nil || got != "" {
		t.Errorf("got place %q, %v; want none", got, err)
	}
	p := PrivatePostgres(t, Options{})
	if got := number(t, p.URL(), "SELECT 1"); got != 1 {
		t.Errorf("got %d, want 1", got)
	}
	if intact(place) {
		t.Error("a template was put where others can write")
	}
}

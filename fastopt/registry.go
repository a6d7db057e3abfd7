package fastopt

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"sync"
	"time"
)

// Declaring: everything that can be wrong with an option is found here, before
// any I/O, and what is left is a handle that reads its default.

// A Registry is a set of declared options. The zero value is ready. Declaring
// does no I/O. A registry belongs to at most one open Manager; while it does,
// nothing can be declared.
type Registry struct {
	mu       sync.Mutex
	declared map[string]bool      // guarded by mu: options and prefixes of families
	cores    []*core              // guarded by mu; in the order of declaration
	families []*familyCore        // guarded by mu
	rows     map[reflect.Type]any // guarded by mu: by T, what is left of a []Option[T] (place)
	open     bool                 // guarded by mu: nothing can be declared
}

// Values of Spec.Grace and Config.Grace that are no duration. They are legal
// there only, and are compared before any arithmetic.
const (
	// NoGrace: a value is not used past its TTL.
	NoGrace time.Duration = math.MinInt64 + 1
	// Forever: a value is used for as long as no tier answers.
	Forever time.Duration = math.MaxInt64
)

// NoWait is a value of Spec.WaitStale and Config.WaitStale, legal there only: a
// Load that has a stale value does not wait for a fresh one.
const NoWait time.Duration = math.MinInt64 + 1

// Times of options where neither Spec nor Config names any.
const (
	DefaultTTL       = 10 * time.Second
	DefaultGrace     = 60 * time.Second
	DefaultWaitStale = 50 * time.Millisecond
)

// maxTime is the longest TTL or grace.
const maxTime = 365 * 24 * time.Hour

// A Spec declares an option. Name is required.
type Spec[T any] struct {
	// Name matches [a-z0-9][a-z0-9._:-]{0,127}.
	Name string
	// Default is what the option reads when nothing is set. It must pass Check
	// and survive encoding as JSON, in at most 64 KiB; a copy is kept.
	Default T
	// TTL is how old a value may be while a tier answers: values are renewed
	// ahead of it. 0: the Config's. At most a year.
	TTL time.Duration
	// Grace is how much longer a value is used while no tier answers. 0: the
	// Config's. NoGrace and Forever are possible; else at most a year.
	Grace time.Duration
	// WaitStale is how long a Load waits for a fresh value when it has a stale
	// one, while the request goes on and its answer is kept. 0: the Config's.
	// NoWait: not at all. At most a minute; never longer than LoadTimeout.
	WaitStale time.Duration
	// Secret keeps the value out of the snapshot, unless Config.SnapshotKey
	// encrypts that. The tiers hold it as they hold any other.
	Secret bool
	// Doc says what the option does, for people.
	Doc string
	// Check refuses values: on Set, on the caller's goroutine, and when they are
	// read from a tier, on one of its own; never when they are read from memory.
	// Several goroutines may call it at once. Its error becomes visible: it
	// should tell the limit and not repeat the value.
	Check func(T) error
}

// New declares an option with a name and a default. T is inferred from the
// default: write 1.0 for a float64. It panics if the declaration is wrong.
func New[T any](r *Registry, name string, value T) *Option[T] {
	return Declare(r, Spec[T]{Name: name, Default: value})
}

// Declare declares an option. It panics if the declaration is wrong, as
// package flag does: it is meant for package variables.
func Declare[T any](r *Registry, s Spec[T]) *Option[T] {
	o, err := TryDeclare(r, s)
	if err != nil {
		panic(err)
	}
	return o
}

// TryDeclare declares an option, or returns what is wrong: ErrInvalidName,
// ErrInvalidValue or ErrTooLarge (the default), or ErrDeclaration. The registry is unchanged then.
func TryDeclare[T any](r *Registry, s Spec[T]) (*Option[T], error) {
	d, err := declare(s)
	if err != nil {
		return nil, failed("declare", s.Name, err)
	}
	var o *Option[T]
	err = r.add(s.Name, func() {
		o = place[T](r)
		o.init(d)
		r.cores = append(r.cores, o.core)
	})
	if err != nil {
		return nil, failed("declare", s.Name, err)
	}
	return o, nil
}

// rowSize is how many handles of one type lie side by side.
const rowSize = 32

// place returns the place of the next handle for a T. Handles of one type lie side
// by side, four to a cache line: apart, with what else declaring allocates between
// them, each is on a line of its own, and over 512 options a read costs what a
// handle of 112 bytes would (BENCHMARKS.md, layouts). The caller holds r.mu.
func place[T any](r *Registry) *Option[T] {
	typ := reflect.TypeFor[T]()
	row, _ := r.rows[typ].([]Option[T])
	if len(row) == 0 {
		row = make([]Option[T], rowSize)
	}
	if r.rows == nil {
		r.rows = map[reflect.Type]any{}
	}
	r.rows[typ] = row[1:]
	return &row[0]
}

// init lets a new handle read the default.
func (o *Option[T]) init(d *decl) {
	o.core = &core{decl: d}
	o.core.cell = o
	m := newMeta(facts{boxed: d.fallback}, dead)
	o.current.Store(&entry[T]{value: unbox[T](d.fallback), meta: m})
}

// decl is a checked declaration. Immutable.
type decl struct {
	name       string
	doc        string
	fallback   any // the default
	ttl, grace time.Duration
	waitStale  time.Duration
	secret     bool
	codec      codec
	check      func(any) error // nil: none
	userCode   bool            // decoding may run code of the user, which may panic or never return
}

func declare[T any](s Spec[T]) (*decl, error) {
	if err := checkName(s.Name); err != nil {
		return nil, err
	}
	if err := checkTimes(s.TTL, s.Grace); err != nil {
		return nil, errors.Join(ErrDeclaration, err)
	}
	if err := checkWait(s.WaitStale); err != nil {
		return nil, errors.Join(ErrDeclaration, err)
	}
	c, err := codecFor[T]()
	if err != nil {
		return nil, err
	}
	d := &decl{name: s.Name, doc: s.Doc, ttl: s.TTL, grace: s.Grace, waitStale: s.WaitStale, secret: s.Secret, codec: c}
	d.userCode = s.Check != nil || hasOwnDecoder(c.typ)
	if s.Check != nil {
		d.check = func(v any) error { return s.Check(unbox[T](v)) }
	}
	data, err := c.encode(any(s.Default))
	if err != nil {
		return nil, err
	}
	if len(data) > maxValue {
		return nil, because(ErrTooLarge, "the default has %d bytes encoded, the limit is %d", len(data), maxValue)
	}
	if d.fallback, err = d.decode(data); err != nil {
		return nil, fmt.Errorf("default: %w", err)
	}
	if !reflect.DeepEqual(d.fallback, any(s.Default)) {
		return nil, because(ErrDeclaration, "the default of type %v does not survive encoding as JSON", c.typ)
	}
	return d, nil
}

// decode turns data into a value that may be published. It may run user code.
func (d *decl) decode(data []byte) (v any, err error) {
	err = guard(func() error {
		if v, err = d.codec.decodeValue(data); err != nil || d.check == nil {
			return err
		}
		if err := d.check(v); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalidValue, err)
		}
		return nil
	})
	return v, err
}

// add registers name, then calls put, unless it is taken or r is open.
func (r *Registry) add(name string, put func()) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.open:
		return because(ErrDeclaration, "the registry is in an open manager")
	case r.declared[name]:
		return because(ErrDeclaration, "the name is declared already")
	case r.declared == nil:
		r.declared = map[string]bool{}
	}
	r.declared[name] = true
	put()
	return nil
}

// claim makes r belong to one manager.
func (r *Registry) claim() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open {
		return because(ErrConfig, "a registry is in an open manager already")
	}
	r.open = true
	return nil
}

func (r *Registry) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open = false
}

// checkTimes checks a TTL and a grace as they may stand in Spec and Config.
func checkTimes(ttl, grace time.Duration) error {
	if ttl < 0 || ttl > maxTime {
		return fmt.Errorf("TTL %v: must be 0 to %v", ttl, maxTime)
	}
	if grace == NoGrace || grace == Forever {
		return nil
	}
	if grace < 0 || grace > maxTime {
		return fmt.Errorf("grace %v: must be 0 to %v, NoGrace or Forever", grace, maxTime)
	}
	return nil
}

// checkWait checks a WaitStale as it may stand in Spec and Config.
func checkWait(d time.Duration) error {
	if d != NoWait && (d < 0 || d > time.Minute) {
		return fmt.Errorf("WaitStale %v: must be 0 to %v, or NoWait", d, time.Minute)
	}
	return nil
}

// hasOwnDecoder reports whether decoding a typ may run code of the user.
func hasOwnDecoder(typ reflect.Type) bool {
	switch typ.Kind() {
	case reflect.Struct, reflect.Array, reflect.Slice, reflect.Map, reflect.Pointer:
		return typ != reflect.TypeFor[[]string]()
	}
	return typ != durationType && reflect.PointerTo(typ).NumMethod() > 0
}

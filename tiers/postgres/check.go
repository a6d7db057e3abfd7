package postgres

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"github.com/fastopt/fastopt-go/tiers"
)

// The schema is checked when a Source is first used, and again when the server
// says that something is not there or not allowed, so that the error says what is
// wrong and what mends it. Some things nobody else would notice: a trigger that
// is disabled lets changes pass unseen.

//go:embed check.sql
var checkSQL string

// A schema is what is known of the one that a source reads.
type schema struct {
	checked atomic.Bool
	version atomic.Int32 // once checked
}

// check returns an error that wraps tiers.ErrSetup if the schema is not as it
// must be. It asks the server only if it has not been found good before.
func (s *Source) check(ctx context.Context, c *pgx.Conn) error {
	if s.schema.checked.Load() {
		return nil
	}
	found, err := s.problems(ctx, c)
	if err != nil {
		return err
	}
	if len(found) > 0 && found[0].rank < rankAltered { // the version cannot be read
		return setupError(found)
	}
	var version *int
	switch err := s.queryRow(ctx, c, `SELECT max(version) FROM fastopt.schema_version`, nil, &version); {
	case err != nil && len(found) > 0:
		return setupError(found)
	case err != nil:
		return err
	case version == nil:
		return errNoVersion
	}
	if err := errors.Join(tooOld(*version), tooNew(*version)); err != nil {
		return err
	}
	found = slices.DeleteFunc(found, func(p problem) bool { return p.since > *version })
	if len(found) > 0 {
		return setupError(found)
	}
	s.schema.version.Store(int32(*version))
	s.schema.checked.Store(true)
	return nil
}

// explain returns err, or what check finds where the server said that
// something is not there or not allowed.
func (s *Source) explain(ctx context.Context, err error) error {
	return s.explainBy(err, func() error {
		_, found := s.once(ctx, func(context.Context, *pgx.Conn) error { return nil })
		return found
	})
}

// explainBy is explain with a call of check.
func (s *Source) explainBy(err error, check func() error) error {
	if code := codeOf(err); !strings.HasPrefix(code, "42") && code != "3F000" {
		return err
	}
	s.schema.checked.Store(false)
	if found := check(); errors.Is(found, tiers.ErrSetup) && isOurs(found) {
		return found
	}
	return err
}

// A problem is a row of check.sql.
type problem struct {
	rank, since int
	text        string
}

const rankAltered = 4 // what ranks before it is in the way of the version

// setupError says those of problems that rank first.
func setupError(problems []problem) error {
	var texts []string
	for _, p := range problems {
		if p.rank == problems[0].rank {
			texts = append(texts, p.text)
		}
	}
	text := strings.Join(texts, "; ")
	if problems[0].rank == rankAltered {
		text = "the schema fastopt was altered: " + text + " (schema_v1.sql and those after it say how it was)"
	}
	return fmt.Errorf("%w: %s", tiers.ErrSetup, text)
}

func (s *Source) problems(ctx context.Context, c *pgx.Conn) (found []problem, err error) {
	rows, err := s.query(ctx, c, checkSQL)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var p problem
		if err := rows.Scan(&p.rank, &p.since, &p.text); err != nil {
			return nil, err
		}
		found = append(found, p)
	}
	return found, rows.Err()
}

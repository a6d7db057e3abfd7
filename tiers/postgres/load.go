package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fastopt/fastopt-go/tiers"
)

// Reading names: one statement, so one snapshot. The row that a name lacks is
// told apart from the answer that is missing by the head of the same statement:
// "no row" is Absent as of that revision.

const loadSQL = withHere + `
SELECT ` + historyColumns + `, coalesce(n.revision, 0), o.name, o.revision, o.size,
       CASE WHEN o.size <= $3 THEN o.value::text END
  FROM h
  LEFT JOIN fastopt.namespaces n ON n.namespace = $1
  LEFT JOIN fastopt.options o ON o.namespace = $1 AND o.name = ANY($2::text[])`

// Load reads names in one statement. A value longer than tiers.MaxData stays on
// the server and is told by Oversize.
func (s *Source) Load(ctx context.Context, namespace string, names []string) []tiers.Result {
	results := make([]tiers.Result, len(names))
	at := make(map[string]int, len(names)) // of the names to ask for
	ask := make([]string, 0, len(names))
	for i, name := range names {
		results[i].Name = name
		if err := tiers.CheckName(name); err != nil {
			results[i].Err = fmt.Errorf("postgres: load: %w", err)
			continue
		}
		at[name] = i
		ask = append(ask, name)
	}
	err := checkCall(namespace, len(names))
	if err == nil && len(ask) > 0 {
		err = s.read(ctx, "load", func(ctx context.Context, c *pgx.Conn) error {
			return s.loadOn(ctx, c, namespace, ask, func(r tiers.Record) { results[at[r.Name]].Record = r })
		})
	}
	if err != nil {
		for _, i := range at {
			results[i] = tiers.Result{Record: tiers.Record{Name: names[i]}, Err: err}
		}
	}
	return results
}

// loadOn tells found the record of each name.
func (s *Source) loadOn(ctx context.Context, c *pgx.Conn, namespace string, names []string, found func(tiers.Record)) error {
	asOf := time.Now()
	rows, err := s.query(ctx, c, loadSQL, namespace, names, tiers.MaxData)
	if err != nil {
		return err
	}
	defer rows.Close()
	var h history
	var head uint64
	records := make(map[string]tiers.Record, len(names))
	answered := false
	for rows.Next() {
		var row rowData
		if err := rows.Scan(h.into(&head, &row.name, &row.revision, &row.size, &row.value)...); err != nil {
			return err
		}
		answered = true
		if row.name != nil {
			records[*row.name] = row.record(h, asOf)
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if !answered {
		return pgx.ErrNoRows
	}
	if err := s.seen.accept(h); err != nil {
		return err
	}
	for _, name := range names {
		r, ok := records[name]
		if !ok {
			r = tiers.Record{Name: name, Kind: tiers.Absent, NoRow: true, Stamp: stamp(h, head), AsOf: asOf}
		}
		found(r)
	}
	return nil
}

// rowData is what statements return of a row of options, or of a tombstone: no size.
type rowData struct {
	name     *string
	revision *uint64
	size     *int
	value    []byte // nil if it is too long
}

func (d rowData) record(h history, asOf time.Time) tiers.Record {
	r := tiers.Record{Name: *d.name, Kind: tiers.Absent, Stamp: stamp(h, *d.revision), AsOf: asOf}
	if d.size == nil {
		return r
	}
	r.Kind, r.Data = tiers.Value, d.value
	if d.value == nil {
		r.Oversize = *d.size
	}
	return r
}

func stamp(h history, revision uint64) tiers.Stamp {
	return tiers.Stamp{Epoch: uint32(h.epoch), Revision: revision}
}

// checkCall checks what is common to calls with a namespace and n names.
func checkCall(namespace string, n int) error {
	if err := tiers.CheckName(namespace); err != nil {
		return fmt.Errorf("postgres: namespace: %w", err)
	}
	if n > tiers.MaxBatch {
		return fmt.Errorf("postgres: %d names in one call, the limit is %d", n, tiers.MaxBatch)
	}
	return nil
}

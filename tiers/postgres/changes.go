package postgres

import (
	"context"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fastopt/fastopt-go/tiers"
)

// The history of a namespace: what changed after a revision, and everything.
// Revisions are given in commit order, so "revision > n" misses nothing that
// commits later (D3). Both unite rows and tombstones; a name is in one of them.
//
// Every page ends within statement_timeout, whatever the rows: it is read in the
// order of an index, from each table no more than a page, and values are only
// read of the rows that fit into its bytes, one by one, so that keys alone are
// sorted where the planner knows the tables badly.

const (
	changesPage = 2000    // records
	scanPage    = 500     // records
	pageBytes   = 4 << 20 // of values in a page, of either kind
)

// Rows and head are of one snapshot. A page holds whole revisions, for the next
// "revision > n" would miss the rest of one. A record fits if its whole revision
// does; the first is told anyway, without its value, so that a revision that fits
// into no page is not taken for nothing. found counts what there was to choose from.
const changesSQL = withHere + `
SELECT ` + historyColumns + `, coalesce(n.revision, 0), coalesce(n.compacted, 0), coalesce(c.found, 0), coalesce(c.fits, false),
       c.name, c.revision, c.size,
       CASE WHEN c.fits AND c.size <= $5 THEN (SELECT o.value::text FROM fastopt.options o WHERE o.namespace = $1 AND o.name = c.name LIMIT 1) END
  FROM h
  LEFT JOIN fastopt.namespaces n ON n.namespace = $1
  LEFT JOIN LATERAL (
       SELECT b.*, count(*) OVER () AS found, row_number() OVER (ORDER BY b.revision) AS place,
              count(*) OVER upto <= $4 AND sum(CASE WHEN b.size <= $5 THEN b.size ELSE 0 END) OVER upto <= $6 AS fits
         FROM ((SELECT name, revision, size
                  FROM fastopt.options WHERE namespace = $1 AND revision > $2 AND h.epoch = $3 AND $2 >= n.compacted
                 ORDER BY revision FETCH FIRST ($4 + 1) ROWS ONLY)
               UNION ALL
               (SELECT name, revision, NULL
                  FROM fastopt.tombstones WHERE namespace = $1 AND revision > $2 AND h.epoch = $3 AND $2 >= n.compacted
                 ORDER BY revision FETCH FIRST ($4 + 1) ROWS ONLY)
               ORDER BY revision FETCH FIRST ($4 + 1) ROWS ONLY) b
       WINDOW upto AS (ORDER BY b.revision)) c ON c.fits OR c.place = 1
 ORDER BY c.revision, c.name`

// Changes returns a page of what changed after since: up to 2,000 records and 4
// MiB of values, and always all of a revision. One that is larger (a mass update,
// or a TRUNCATE) is a Reset: Scan tells of it in pages.
func (s *Source) Changes(ctx context.Context, namespace string, since tiers.Stamp) (tiers.Changes, error) {
	if err := checkCall(namespace, 0); err != nil {
		return tiers.Changes{}, err
	}
	var changes tiers.Changes
	err := s.read(ctx, "changes", func(ctx context.Context, c *pgx.Conn) (err error) {
		changes, err = s.changesOn(ctx, c, namespace, since, tiers.MaxData)
		return err
	})
	if err != nil {
		return tiers.Changes{}, err
	}
	return changes, nil
}

// changesOn withholds values longer than longest.
func (s *Source) changesOn(ctx context.Context, c *pgx.Conn, namespace string, since tiers.Stamp, longest int) (tiers.Changes, error) {
	none := tiers.Changes{}
	asOf := time.Now()
	if since.Revision > math.MaxInt64 {
		since = tiers.Stamp{} // of no database: a reset
	}
	rows, err := s.query(ctx, c, changesSQL, namespace, since.Revision, since.Epoch, changesPage, longest, pageBytes)
	if err != nil {
		return none, err
	}
	defer rows.Close()
	var h history
	var head, compacted uint64
	var records []tiers.Record
	var found int
	answered := false
	for rows.Next() {
		var row rowData
		var fits bool
		if err := rows.Scan(h.into(&head, &compacted, &found, &fits, &row.name, &row.revision, &row.size, &row.value)...); err != nil {
			return none, err
		}
		answered = true
		if fits {
			records = append(records, row.record(h, asOf))
		}
	}
	if err := rows.Err(); err != nil {
		return none, err
	}
	if !answered {
		return none, pgx.ErrNoRows
	}
	if err := s.seen.accept(h); err != nil {
		return none, err
	}
	changes := tiers.Changes{Records: records, Head: stamp(h, head)}
	switch {
	case since.Epoch != uint32(h.epoch) || since.Revision < compacted || since.Revision > head, found > 0 && len(records) == 0:
		return tiers.Changes{Head: stamp(h, head), Reset: true}, nil
	case found > len(records):
		changes.Head, changes.More = records[len(records)-1].Stamp, true
	}
	return changes, nil
}

// A record fits if it is the first of its page, or begins within the bytes of one.
const scanSQL = withHere + `
SELECT ` + historyColumns + `, coalesce(c.found, 0), c.name, c.revision, c.size,
       CASE WHEN c.size <= $4 THEN (SELECT o.value::text FROM fastopt.options o WHERE o.namespace = $1 AND o.name = c.name LIMIT 1) END
  FROM h
  LEFT JOIN LATERAL (
       SELECT b.*, count(*) OVER () AS found,
              coalesce(sum(CASE WHEN b.size <= $4 THEN b.size END) OVER (ORDER BY b.name ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
         FROM ((SELECT name, revision, size
                  FROM fastopt.options WHERE namespace = $1 AND name > $2 ORDER BY name FETCH FIRST $3 ROWS ONLY)
               UNION ALL
               (SELECT name, revision, NULL
                  FROM fastopt.tombstones WHERE namespace = $1 AND name > $2 ORDER BY name FETCH FIRST $3 ROWS ONLY)
               ORDER BY name FETCH FIRST $3 ROWS ONLY) b) c ON c.before < $5
 ORDER BY c.name`

// Scan yields every row and tombstone in the byte order of names, in pages of
// up to 500 and about 4 MiB of values, each a statement and a snapshot of its own.
func (s *Source) Scan(ctx context.Context, namespace string) iter.Seq2[tiers.Record, error] {
	return func(yield func(tiers.Record, error) bool) {
		if err := checkCall(namespace, 0); err != nil {
			yield(tiers.Record{}, err)
			return
		}
		for after, more := "", true; more; {
			var page []tiers.Record
			err := s.read(ctx, "scan", func(ctx context.Context, c *pgx.Conn) (err error) {
				page, more, err = s.scanOn(ctx, c, namespace, after)
				return err
			})
			if err != nil {
				yield(tiers.Record{}, err)
				return
			}
			for _, r := range page {
				if !yield(r, nil) {
					return
				}
				after = r.Name
			}
		}
	}
}

// scanOn reads the page after a name. more: it may not be the last.
func (s *Source) scanOn(ctx context.Context, c *pgx.Conn, namespace, after string) (page []tiers.Record, more bool, err error) {
	asOf := time.Now()
	rows, err := s.query(ctx, c, scanSQL, namespace, after, scanPage, tiers.MaxData, pageBytes)
	if err != nil {
		return nil, false, err
	}
	defer rows.Close()
	var h history
	var found int
	answered := false
	for rows.Next() {
		var row rowData
		if err := rows.Scan(h.into(&found, &row.name, &row.revision, &row.size, &row.value)...); err != nil {
			return nil, false, err
		}
		answered = true
		if row.name != nil {
			page = append(page, row.record(h, asOf))
		}
	}
	if err := rows.Err(); err != nil {
		return nil, false, err
	}
	if !answered {
		return nil, false, fmt.Errorf("scan: %w", pgx.ErrNoRows)
	}
	return page, found == scanPage || found > len(page), s.seen.accept(h)
}

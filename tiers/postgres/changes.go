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

const (
	changesPage = 1000 // records, and those that share the revision of the last
	scanPage    = 500
)

// Rows and head are of one snapshot. WITH TIES: a page never cuts a revision in
// half, whose remainder the next "revision > n" would miss.
const changesSQL = withHere + `
SELECT ` + historyColumns + `, coalesce(n.revision, 0), coalesce(n.compacted, 0), c.name, c.revision, c.size, c.value
  FROM h
  LEFT JOIN fastopt.namespaces n ON n.namespace = $1
  LEFT JOIN LATERAL (
       SELECT name, revision, size, CASE WHEN size <= $5 THEN value::text END AS value
         FROM fastopt.options WHERE namespace = $1 AND revision > $2 AND h.epoch = $3 AND $2 >= n.compacted
       UNION ALL
       SELECT name, revision, NULL, NULL
         FROM fastopt.tombstones WHERE namespace = $1 AND revision > $2 AND h.epoch = $3 AND $2 >= n.compacted
       ORDER BY revision FETCH FIRST $4 ROWS WITH TIES) c ON true
 ORDER BY c.revision, c.name`

// Changes returns a page of what changed after since: at least 1,000 records if
// there are more, and always all of a revision.
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
	rows, err := s.query(ctx, c, changesSQL, namespace, since.Revision, since.Epoch, changesPage, longest)
	if err != nil {
		return none, err
	}
	defer rows.Close()
	var h history
	var head, compacted uint64
	var records []tiers.Record
	answered := false
	for rows.Next() {
		var row rowData
		if err := rows.Scan(h.into(&head, &compacted, &row.name, &row.revision, &row.size, &row.value)...); err != nil {
			return none, err
		}
		answered = true
		if row.name != nil {
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
	if since.Epoch != uint32(h.epoch) || since.Revision < compacted || since.Revision > head {
		return tiers.Changes{Head: stamp(h, head), Reset: true}, nil
	}
	changes := tiers.Changes{Records: records, Head: stamp(h, head)}
	if n := len(records); n >= changesPage && records[n-1].Stamp.Revision < head {
		changes.Head, changes.More = records[n-1].Stamp, true
	}
	return changes, nil
}

const scanSQL = withHere + `
SELECT ` + historyColumns + `, c.name, c.revision, c.size, c.value
  FROM h
  LEFT JOIN LATERAL (
       SELECT name, revision, size, CASE WHEN size <= $4 THEN value::text END AS value
         FROM fastopt.options WHERE namespace = $1 AND name > $2
       UNION ALL
       SELECT name, revision, NULL, NULL FROM fastopt.tombstones WHERE namespace = $1 AND name > $2
       ORDER BY name FETCH FIRST $3 ROWS ONLY) c ON true
 ORDER BY c.name`

// Scan yields every row and tombstone in the byte order of names, in pages of
// 500, each a statement and a snapshot of its own.
func (s *Source) Scan(ctx context.Context, namespace string) iter.Seq2[tiers.Record, error] {
	return func(yield func(tiers.Record, error) bool) {
		if err := checkCall(namespace, 0); err != nil {
			yield(tiers.Record{}, err)
			return
		}
		for after := ""; ; {
			var page []tiers.Record
			err := s.read(ctx, "scan", func(ctx context.Context, c *pgx.Conn) (err error) {
				page, err = s.scanOn(ctx, c, namespace, after)
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
			}
			if len(page) < scanPage {
				return
			}
			after = page[len(page)-1].Name
		}
	}
}

func (s *Source) scanOn(ctx context.Context, c *pgx.Conn, namespace, after string) ([]tiers.Record, error) {
	asOf := time.Now()
	rows, err := s.query(ctx, c, scanSQL, namespace, after, scanPage, tiers.MaxData)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var h history
	var page []tiers.Record
	answered := false
	for rows.Next() {
		var row rowData
		if err := rows.Scan(h.into(&row.name, &row.revision, &row.size, &row.value)...); err != nil {
			return nil, err
		}
		answered = true
		if row.name != nil {
			page = append(page, row.record(h, asOf))
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if !answered {
		return nil, fmt.Errorf("scan: %w", pgx.ErrNoRows)
	}
	return page, s.seen.accept(h)
}

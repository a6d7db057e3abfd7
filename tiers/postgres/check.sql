-- What is wrong with the schema fastopt, for the role that asks: rows of
-- (rank, version since which it is needed, problem). No right is needed to ask.
-- The trigger a_notify may be disabled, should NOTIFY's queue ever be full (R21):
-- watchers then find changes by their heartbeats.
WITH ns AS (
    SELECT oid FROM pg_namespace WHERE nspname = 'fastopt'
), rel AS (
    SELECT c.oid, c.relname::text AS name FROM pg_class c JOIN ns ON c.relnamespace = ns.oid WHERE c.relkind IN ('r', 'p', 'v')
), cols(tab, name, type) AS (VALUES
    ('options', 'namespace', 'text'), ('options', 'name', 'text'), ('options', 'value', 'json'), ('options', 'size', 'integer'),
    ('options', 'revision', 'bigint'), ('options', 'updated_at', 'timestamp with time zone'), ('options', 'updated_by', 'text'), ('options', 'reason', 'text'),
    ('tombstones', 'namespace', 'text'), ('tombstones', 'name', 'text'), ('tombstones', 'revision', 'bigint'),
    ('tombstones', 'deleted_at', 'timestamp with time zone'), ('tombstones', 'deleted_by', 'text'), ('tombstones', 'reason', 'text'),
    ('namespaces', 'namespace', 'text'), ('namespaces', 'revision', 'bigint'), ('namespaces', 'xid', 'xid8'),
    ('namespaces', 'at', 'timestamp with time zone'), ('namespaces', 'compacted', 'bigint'),
    ('epoch', 'epoch', 'bigint'), ('epoch', 'system_identifier', 'bigint'), ('epoch', 'timeline', 'bigint'), ('epoch', 'database', 'bigint'), ('epoch', 'lineage', 'uuid'),
    ('actual', 'system_identifier', 'bigint'), ('actual', 'timeline', 'bigint'), ('actual', 'database', 'bigint'),
    ('here', 'epoch', 'bigint'), ('here', 'system_identifier', 'bigint'), ('here', 'timeline', 'bigint'), ('here', 'database', 'bigint'),
    ('here', 'lineage', 'text'), ('here', 'recovering', 'boolean'), ('here', 'mine', 'boolean'),
    ('schema_version', 'version', 'integer')
), trigs(tab, name, func) AS (VALUES
    ('options', 'a_lock', 'lock_writers'), ('options', 'b_stamp', 'stamp'), ('options', 'c_born', 'born'), ('options', 'c_tomb', 'tomb'),
    ('options', 'c_truncated', 'truncated'), ('namespaces', 'a_notify', 'notify')
), funcs(since, name, args) AS (VALUES
    (1, 'lock_writers', ''), (1, 'step', 'text'), (1, 'stamp', ''), (1, 'born', ''), (1, 'tomb', ''), (1, 'truncated', ''), (1, 'notify', ''),
    (1, 'begin_write', 'text, bigint, text[], bigint[], bigint[]'), (2, 'compact', 'text, interval')
)
SELECT 1, 1, 'the schema fastopt is missing: run postgres.Migrate' WHERE NOT EXISTS (SELECT FROM ns)
UNION ALL
SELECT 2, 1, 'a grant is missing: GRANT USAGE ON SCHEMA fastopt to the role, as postgres.Roles does'
  FROM ns WHERE NOT has_schema_privilege(ns.oid, 'USAGE')
UNION ALL
SELECT 4, 1, format('%s fastopt.%s is missing', CASE WHEN tab IN ('actual', 'here') THEN 'view' ELSE 'table' END, tab)
  FROM (SELECT DISTINCT tab FROM cols) w WHERE NOT EXISTS (SELECT FROM rel WHERE rel.name = w.tab) AND EXISTS (SELECT FROM ns)
UNION ALL
SELECT 3, 1, format('a grant is missing: GRANT SELECT ON fastopt.%s to the role, as postgres.Roles does', rel.name)
  FROM rel
 WHERE (rel.name IN ('options', 'tombstones', 'namespaces', 'epoch', 'here', 'schema_version')
        OR rel.name = 'actual' AND EXISTS (SELECT FROM rel e WHERE e.name = 'epoch' AND has_any_column_privilege(e.oid, 'UPDATE'))) -- to step the epoch
   AND NOT has_table_privilege(rel.oid, 'SELECT')
UNION ALL
SELECT 3, 1, CASE WHEN to_regprocedure(f) IS NULL THEN format('the server has no function pg_catalog.%s, by which it would tell histories apart', f)
                  ELSE format('a grant is missing: GRANT EXECUTE ON FUNCTION pg_catalog.%s to the role, for views ask with the rights of who reads', f) END
  FROM (VALUES ('pg_control_system()'), ('pg_current_wal_lsn()'), ('pg_walfile_name(pg_lsn)')) v (f)
 WHERE has_function_privilege(to_regprocedure(f), 'EXECUTE') IS DISTINCT FROM true
UNION ALL
SELECT 4, 1, format('row level security hides rows of fastopt.%s from the role', rel.name)
  FROM rel WHERE rel.name IN ('options', 'tombstones', 'namespaces', 'epoch') AND row_security_active(rel.oid)
UNION ALL
SELECT 4, 1, format('column %s of fastopt.%s is missing', w.name, w.tab)
  FROM cols w JOIN rel ON rel.name = w.tab
 WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = rel.oid AND a.attname = w.name AND a.attnum > 0 AND NOT a.attisdropped)
UNION ALL
SELECT 4, 1, format('column %s of fastopt.%s has type %s instead of %s', w.name, w.tab, format_type(a.atttypid, NULL), w.type)
  FROM cols w JOIN rel ON rel.name = w.tab JOIN pg_attribute a ON a.attrelid = rel.oid AND a.attname = w.name AND a.attnum > 0 AND NOT a.attisdropped
 WHERE format_type(a.atttypid, NULL) <> w.type
UNION ALL
SELECT 4, 1, format('trigger %s of fastopt.%s is missing', w.name, w.tab)
  FROM trigs w JOIN rel ON rel.name = w.tab
 WHERE NOT EXISTS (SELECT FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN ns ON p.pronamespace = ns.oid
                    WHERE t.tgrelid = rel.oid AND t.tgname = w.name AND p.proname = w.func)
UNION ALL
SELECT 4, 1, format('trigger %s of fastopt.%s is disabled: ALTER TABLE fastopt.%s ENABLE TRIGGER %s', w.name, w.tab, w.tab, w.name)
  FROM trigs w JOIN rel ON rel.name = w.tab JOIN pg_trigger t ON t.tgrelid = rel.oid AND t.tgname = w.name
 WHERE t.tgenabled NOT IN ('O', 'A') AND w.name <> 'a_notify'
UNION ALL
SELECT 4, w.since, format('function fastopt.%s(%s) is missing', w.name, w.args)
  FROM funcs w, ns
 WHERE NOT EXISTS (SELECT FROM pg_proc p WHERE p.pronamespace = ns.oid AND p.proname = w.name AND oidvectortypes(p.proargtypes) = w.args)
ORDER BY 1, 2, 3

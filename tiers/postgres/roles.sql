-- Roles of fastopt, least privilege first. Run it once per database as the owner
-- of the schema fastopt who may create roles, or as a superuser, after
-- postgres.Migrate; running it again is harmless:
--
--   psql -f roles.sql "$DATABASE_URL"
--   GRANT fastopt_reader, fastopt_writer TO checkout;
--
-- The roles are groups without a login. Grant a service what it does:
--
--   fastopt_reader   reads options and hears of changes. A Set fails with ErrReadOnly.
--   fastopt_writer   reads and sets options. It may delete none.
--   fastopt_deleter  deletes options, beside fastopt_writer.
--   fastopt_relay    reads, feeds the cache, gives the database an epoch of its own
--                    after a failover or a restore, and forgets old deletes. At
--                    least one process of each namespace needs it.
--
-- The migrator is the owner of the schema: the role that runs postgres.Migrate.
-- No service needs it. TRUNCATE and what the triggers keep stay with it.
--
-- A write that waits in vain names the session that is in its way. Since when
-- that one has been at it is told to members of pg_read_all_stats alone:
--
--   GRANT pg_read_all_stats TO fastopt_writer;

DO $$
DECLARE r text;
BEGIN
    FOREACH r IN ARRAY ARRAY['fastopt_reader', 'fastopt_writer', 'fastopt_deleter', 'fastopt_relay'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = r) THEN
            EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', r);
        END IF;
    END LOOP;
END $$;

GRANT USAGE ON SCHEMA fastopt TO fastopt_reader, fastopt_writer, fastopt_deleter, fastopt_relay;
GRANT SELECT ON ALL TABLES IN SCHEMA fastopt TO fastopt_reader, fastopt_writer, fastopt_deleter, fastopt_relay;
GRANT INSERT, UPDATE ON fastopt.options TO fastopt_writer;
GRANT DELETE ON fastopt.options TO fastopt_deleter;
GRANT UPDATE (epoch, system_identifier, timeline, database) ON fastopt.epoch TO fastopt_relay;
GRANT EXECUTE ON FUNCTION fastopt.compact(text, interval) TO fastopt_relay;

-- Two roles for a Postgres server of your own: fc_writer for the pipeline, and fc_reader for those who read.
--
--   fc_writer  makes, migrates and fills the tables; owns them, and neither the databases nor anything else.
--   fc_reader  reads every table of schema public, later ones included, what schemas api, neynar and dune make of them,
--              and the pipeline's progress; writes nothing.
--              `fc-pipeline status`, `verify` and `targets list` work as fc_reader; `verify` compares in temporary tables,
--              which end with its session. It cannot read what pipeline.quarantine and pipeline.drift keep of records,
--              which users may have deleted since; of the quarantine it sees how many there are, and why.
--
-- Run it as an administrator (a superuser, or the databases' owner with CREATEROLE and CREATEDB) in the database that is
-- to hold the replica:
--
--   createdb -T template0 -E UTF8 fc_pipeline
--   psql -d fc_pipeline -f docs/roles.sql
--   psql -d fc_pipeline -c '\password fc_writer' -c '\password fc_reader'
--   FC_POSTGRES_URL=postgresql://fc_writer:PASSWORD@HOST/fc_pipeline   (in .env)
--
-- and once more after the pipeline's first start, because only then are there tables in schema pipeline for fc_reader.
-- It can be run again at any time; a replica that another user has filled so far is handed over to fc_writer.

\set ON_ERROR_STOP on
SELECT current_database() AS replica \gset

SELECT format('CREATE ROLE %I', name) FROM (VALUES ('fc_writer'), ('fc_reader')) AS wanted (name)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE fc_writer LOGIN NOCREATEDB NOCREATEROLE;
ALTER ROLE fc_reader LOGIN NOCREATEDB NOCREATEROLE;
ALTER ROLE fc_reader SET default_transaction_read_only = on;
-- An administrator who is no superuser must be able to act for fc_writer, whose tables these will be.
SELECT format('GRANT fc_writer TO %I', current_user)
WHERE NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) \gexec

REVOKE ALL ON DATABASE :"replica" FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE :"replica" TO fc_writer; -- micro-batches are staged in temporary tables
GRANT CONNECT, TEMPORARY ON DATABASE :"replica" TO fc_reader; -- verify stages there what the hub says

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO fc_writer;
GRANT USAGE ON SCHEMA public TO fc_reader;

CREATE SCHEMA IF NOT EXISTS pipeline AUTHORIZATION fc_writer;
ALTER SCHEMA pipeline OWNER TO fc_writer;
GRANT USAGE ON SCHEMA pipeline TO fc_reader;

-- Views and functions for readers.
SELECT format(command, name) FROM unnest(ARRAY['api', 'neynar', 'dune']) AS name, unnest(ARRAY[
  'CREATE SCHEMA IF NOT EXISTS %I AUTHORIZATION fc_writer',
  'ALTER SCHEMA %I OWNER TO fc_writer',
  'GRANT USAGE ON SCHEMA %I TO fc_reader'
]) WITH ORDINALITY AS commands (command, place) ORDER BY place \gexec

-- What another user's pipeline has made so far.
SELECT format('ALTER FUNCTION %s OWNER TO fc_writer', p.oid::regprocedure)
FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
WHERE n.nspname IN ('pipeline', 'api', 'neynar', 'dune') AND p.prokind = 'f'
  AND p.proowner = (SELECT relowner FROM pg_class WHERE oid = to_regclass('pipeline.coverage'))
  AND p.proowner <> 'fc_writer'::regrole \gexec
SELECT format('ALTER TABLE %s OWNER TO fc_writer', c.oid::regclass)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE (n.nspname IN ('public', 'pipeline') AND c.relkind IN ('r', 'p')
    OR n.nspname IN ('api', 'neynar', 'dune') AND c.relkind = 'v'
    OR c.oid = to_regclass('public.storage'))
  AND c.relowner = (SELECT relowner FROM pg_class WHERE oid = to_regclass('pipeline.coverage'))
  AND c.relowner <> 'fc_writer'::regrole \gexec
SELECT format('ALTER STATISTICS %I.%I OWNER TO fc_writer', n.nspname, s.stxname)
FROM pg_statistic_ext AS s JOIN pg_namespace AS n ON n.oid = s.stxnamespace JOIN pg_class AS c ON c.oid = s.stxrelid
WHERE n.nspname = 'public' AND c.relowner = 'fc_writer'::regrole AND s.stxowner <> c.relowner \gexec

GRANT SELECT ON ALL TABLES IN SCHEMA public TO fc_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE fc_writer IN SCHEMA public GRANT SELECT ON TABLES TO fc_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA api, neynar, dune TO fc_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE fc_writer IN SCHEMA api, neynar, dune GRANT SELECT ON TABLES TO fc_reader;

SELECT format('GRANT SELECT ON pipeline.%I TO fc_reader', name)
FROM unnest(ARRAY[
  'alembic_version', 'bulk_load', 'bulk_load_shards', 'coverage', 'covered_heights', 'former_targets', 'gaps', 'hour_events', 'hour_rows', 'hub_requests', 'lake', 'leases', 'link_compactions',
  'partition_start', 'removals', 'shards', 'snapshot_rounds', 'snapshots', 'target_clients', 'target_denials', 'target_roots', 'target_set', 'target_sign_ups',
  'targets'
]) AS name
WHERE to_regclass('pipeline.' || quote_ident(name)) IS NOT NULL \gexec
-- Of the quarantine all but what is in its records.
SELECT 'GRANT SELECT (shard, event_id, reason, source, fid, first_seen, last_seen, resolved_at) ON pipeline.quarantine TO fc_reader'
WHERE to_regclass('pipeline.quarantine') IS NOT NULL \gexec

-- Large objects are the one thing that any role may make where it may connect.
SELECT format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', oid::regprocedure) FROM pg_proc
WHERE pronamespace = 'pg_catalog'::regnamespace
  AND proname IN ('lo_creat', 'lo_create', 'lo_from_bytea', 'lo_import', 'lo_put', 'lowrite')
  AND (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) \gexec

-- Dagster's own storage, on the same server: fc_writer's alone.
SELECT 'CREATE DATABASE dagster ENCODING ''UTF8'' LC_COLLATE ''C'' LC_CTYPE ''C'' TEMPLATE template0' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'dagster') \gexec
\connect dagster
REVOKE ALL ON DATABASE dagster FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE dagster TO fc_writer;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO fc_writer;
SELECT format('ALTER TABLE %s OWNER TO fc_writer', c.oid::regclass)
FROM pg_class AS c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
  AND c.relowner <> 'fc_writer'::regrole \gexec

-- name: api.change_horizon
-- group: changes
-- description: The change_id up to which every change can be seen by now: read a table as a whole after asking, then
-- description: its changes since. All that began earlier has ended.
-- example: SELECT api.change_horizon();
CREATE OR REPLACE FUNCTION api.change_horizon() RETURNS bigint LANGUAGE sql STABLE
RETURN (pg_snapshot_xmin(pg_current_snapshot())::text)::bigint - 1;

-- name: api.changes_since
-- group: changes
-- description: Rows of a table that were changed or deleted after a change_id, oldest change first, for copies that are
-- description: kept elsewhere. Save the greatest change_id that you have seen and ask again with it: nothing is missed,
-- description: whatever transactions write meanwhile, since none is shown before all that began earlier have ended. The
-- description: changes of one transaction come together, more than max_rows of them if need be; where a row was deleted
-- description: and inserted again by one, its removal comes first.
-- example: SELECT * FROM api.changes_since('casts', 0, 100);
CREATE OR REPLACE FUNCTION api.changes_since(table_name text, cursor bigint, max_rows integer DEFAULT 10000)
RETURNS TABLE (change_id bigint, is_removed boolean, "row" jsonb) LANGUAGE plpgsql STABLE AS $$
DECLARE
  horizon bigint := (pg_snapshot_xmin(pg_current_snapshot())::text)::bigint;
  next_id bigint := (pg_snapshot_xmax(pg_current_snapshot())::text)::bigint;
BEGIN
  IF table_name IS NULL OR NOT EXISTS (SELECT FROM pg_attribute AS a
    WHERE a.attrelid = to_regclass('public.' || quote_ident(table_name)) AND a.attname = 'change_id' AND NOT a.attisdropped)
  THEN
    RAISE EXCEPTION 'no table % whose changes can be read', coalesce(quote_ident(table_name), 'NULL') USING
      ERRCODE = 'undefined_table', HINT = 'the tables of schema public that fc_pipeline keeps: docs/tables.md';
  END IF;
  IF cursor IS NULL OR cursor >= next_id THEN
    RAISE EXCEPTION 'change_id % is not of this server, which is at %', coalesce(cursor::text, 'NULL'), next_id USING
      ERRCODE = 'invalid_parameter_value',
      HINT = 'read the table anew, then its changes after the change_id that api.change_horizon() said before';
  END IF;
  RETURN QUERY EXECUTE format(
    'SELECT s.* FROM (SELECT c.change_id, c.is_removed, c.value FROM (('
    'SELECT t.change_id, false AS is_removed, to_jsonb(t) AS value FROM public.%I AS t '
    'WHERE t.change_id > $1 AND t.change_id < $2 ORDER BY t.change_id FETCH FIRST $3 ROWS WITH TIES'
    ') UNION ALL ('
    'SELECT r.change_id, true, r.key FROM pipeline.removals AS r WHERE r.table_name = $4 AND r.change_id > $1 '
    'AND r.change_id < $2 ORDER BY r.change_id FETCH FIRST $3 ROWS WITH TIES)) AS c '
    'ORDER BY c.change_id FETCH FIRST $3 ROWS WITH TIES) AS s ORDER BY s.change_id, s.is_removed DESC', table_name)
    USING cursor, horizon, max_rows, table_name;
END $$

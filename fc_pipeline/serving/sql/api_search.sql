-- name: api.search_query
-- group: forms
-- description: What api.search_casts looks for: words (all of them), "words in this order", or, -not this, and beginnings*.
-- description: Upper and lower case are the same, and words are taken as they are, in any language. Text that names nothing
-- description: to look for is an error.
CREATE OR REPLACE FUNCTION api.search_query(words text) RETURNS tsquery LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  beginning text;
  sought tsquery := websearch_to_tsquery('simple', regexp_replace(words, '[^\s"*]+\*', ' ', 'g'));
BEGIN
  FOR beginning IN SELECT m.parts[1] FROM regexp_matches(words, '([^\s"*]+)\*', 'g') AS m (parts) LOOP
    beginning := regexp_replace(beginning, '[\\'']', ' ', 'g');
    CONTINUE WHEN numnode(plainto_tsquery('simple', beginning)) = 0;
    sought := CASE WHEN numnode(sought) = 0 THEN to_tsquery('simple', '''' || beginning || ''':*')
      ELSE sought && to_tsquery('simple', '''' || beginning || ''':*') END;
  END LOOP;
  IF sought IS NULL OR numnode(sought) = 0 OR ''::tsvector @@ sought THEN
    RAISE EXCEPTION 'nothing to look for: %', coalesce(left(words, 100), 'NULL') USING
      ERRCODE = 'invalid_parameter_value', HINT = 'name at least one word that the casts are to have';
  END IF;
  RETURN sought;
END $$;

-- name: api.search_casts
-- group: search
-- description: Casts with these words (api.search_query says how they are written), newest first: of all, of an author, of
-- description: a channel or another URL, from since to before until. @names are no part of the text that is searched.
-- description: What is looked for is sought among the latest casts first, so that common words need not be found in all.
-- example: SELECT hash, username, text FROM api.search_casts((SELECT substring(text FROM '[a-z]{4,}') || '*' FROM casts WHERE text ~ '[a-z]{4,}' AND deleted_at IS NULL LIMIT 1));
CREATE OR REPLACE FUNCTION api.search_casts(words text, author bigint DEFAULT NULL, url text DEFAULT NULL,
  since timestamptz DEFAULT '-infinity', until timestamptz DEFAULT 'infinity', viewer bigint DEFAULT NULL,
  page_size integer DEFAULT 25, cursor text DEFAULT NULL)
RETURNS TABLE (shape cast) LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
#variable_conflict use_column
DECLARE
  sought tsquery := api.search_query(words);
  rows_wanted bigint := api.page_rows(page_size);
  first_time timestamptz := coalesce(since, '-infinity');
  last_time timestamptz := least(coalesce(until, 'infinity'), coalesce(api.cursor_time(cursor), 'infinity'));
  cursor_at timestamptz := coalesce(api.cursor_time(cursor), 'infinity');
  cursor_key bytea := coalesce(api.cursor_hash(cursor), '\x');
  hidden bigint[] := api.blocks(viewer);
  hours bigint := 1;
  low timestamptz;
  cursors text[];
BEGIN
  LOOP
    low := CASE WHEN hours > 20000 THEN first_time
      ELSE greatest(first_time, least(last_time, now()) - hours * interval '1 hour') END;
    -- Planned for these words and this author: a plan for any would find an author's casts by the words alone.
    EXECUTE $query$
      SELECT ARRAY(
        SELECT api.cursor_of(m.at, encode(m.hash, 'hex')) FROM (
          SELECT c.hash, coalesce(c.block_time, c."timestamp") AS at FROM public.casts AS c
          WHERE to_tsvector('simple', c.text) @@ $1 AND c.deleted_at IS NULL
            AND coalesce(c.block_time, c."timestamp") >= $2 AND coalesce(c.block_time, c."timestamp") <= $3
            AND ($4 IS NULL OR c.fid = $4) AND ($5 IS NULL OR c.parent_url = $5) AND c.fid <> ALL ($6)
          OFFSET 0) AS m
        WHERE m.at < coalesce($7, 'infinity') AND (m.at, m.hash) < ($8, $9)
        ORDER BY m.at DESC, m.hash DESC LIMIT $10)
      $query$ INTO cursors
      USING sought, low, last_time, author, url, hidden, until, cursor_at, cursor_key, rows_wanted;
    EXIT WHEN cardinality(cursors) >= rows_wanted OR low <= first_time;
    hours := hours * 8;
  END LOOP;
  RETURN QUERY SELECT * FROM api.cast_page(cursors, viewer);
END $$

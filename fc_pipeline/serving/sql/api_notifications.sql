-- name: api.notifications
-- group: notifications
-- description: What others did that concerns a user, the latest first: kind mention, reply, like, recast or follow. Likes
-- description: and recasts of one cast are one row per day (UTC), and so are follows: at the time of the latest, with the
-- description: FIDs and names of the ten latest and the total. A reply that mentions her is a reply. Further pages tell of
-- description: what was there when the first was read, so that no row moves between them.
-- example: SELECT kind, network_time, usernames, total, text FROM api.notifications((SELECT target_fid FROM reactions WHERE target_hash IS NOT NULL AND deleted_at IS NULL LIMIT 1));
CREATE OR REPLACE FUNCTION api.notifications(user_fid bigint, kinds text[] DEFAULT NULL, page_size integer DEFAULT 25,
  cursor text DEFAULT NULL)
RETURNS TABLE (kind text, network_time timestamptz, fids bigint[], usernames text[], total bigint, cast_hash text,
  text text, next_cursor text)
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
#variable_conflict use_column
DECLARE
  rows_wanted bigint := api.page_rows(page_size);
  hidden bigint[] := api.blocks(user_fid) || user_fid;
  is_wanted boolean[];
  as_of timestamptz;
  cursor_at timestamptz := coalesce(api.cursor_time(cursor), 'infinity');
  cursor_kind text := '';
  cursor_key text := '';
  high timestamptz;
  low_reactions timestamptz;
  low_follows timestamptz;
  events bigint;
  groups bigint;
  look_at bigint;
BEGIN
  kinds := coalesce(kinds, ARRAY['mention', 'reply', 'like', 'recast', 'follow']);
  IF NOT kinds <@ ARRAY['mention', 'reply', 'like', 'recast', 'follow'] THEN
    RAISE EXCEPTION 'no kind of notification among: %', kinds USING ERRCODE = 'invalid_parameter_value',
      HINT = 'they are mention, reply, like, recast and follow';
  END IF;
  IF cursor IS NULL THEN
    as_of := greatest(
      (SELECT m.network_time FROM public.cast_mentions AS m WHERE m.mentioned_fid = user_fid
        ORDER BY m.network_time DESC LIMIT 1),
      (SELECT coalesce(c.block_time, c."timestamp") FROM public.casts AS c WHERE c.parent_fid = user_fid
        AND c.deleted_at IS NULL ORDER BY coalesce(c.block_time, c."timestamp") DESC LIMIT 1),
      (SELECT coalesce(r.block_time, r."timestamp") FROM public.reactions AS r WHERE r.target_fid = user_fid
        AND r.deleted_at IS NULL ORDER BY coalesce(r.block_time, r."timestamp") DESC LIMIT 1),
      (SELECT coalesce(l.block_time, l."timestamp") FROM public.links AS l WHERE l.target_fid = user_fid
        AND l.type = 'follow' AND l.deleted_at IS NULL ORDER BY coalesce(l.block_time, l."timestamp") DESC LIMIT 1));
  ELSIF cursor ~ '^[0-9]{1,18}\.[0-9]{1,18}:[a-z]+:[0-9a-f]*$' THEN
    as_of := api.cursor_time(split_part(split_part(cursor, '.', 2), ':', 1) || '.');
    cursor_kind := split_part(cursor, ':', 2);
    cursor_key := split_part(cursor, ':', 3);
  ELSE
    RAISE EXCEPTION 'not a cursor of notifications: %', left(cursor, 100) USING ERRCODE = 'invalid_parameter_value',
      HINT = 'pass next_cursor of the last row that you have, or NULL for the first page';
  END IF;
  IF as_of IS NULL THEN
    RETURN;
  END IF;
  -- A day's row stands where its latest is: those of the cursor's day are known when all of that day are.
  high := least(as_of, date_trunc('day', least(cursor_at, as_of), 'UTC') + interval '1 day' - interval '1 microsecond');
  look_at := CASE WHEN 'like' = ANY (kinds) OR 'recast' = ANY (kinds) THEN 8 * rows_wanted END;
  WHILE look_at IS NOT NULL LOOP
    SELECT sum(g.events), date_trunc('day', min(g.at), 'UTC'), count(*) FILTER (
        WHERE (cursor IS NULL OR g.day < date_trunc('day', cursor_at, 'UTC'))
          AND (SELECT c.deleted_at IS NULL FROM public.casts AS c WHERE c.hash = g.target_hash AND c.fid = user_fid))
      INTO events, low_reactions, groups FROM (
      SELECT e.target_hash, date_trunc('day', e.at, 'UTC') AS day, min(e.at) AS at, count(*) AS events FROM (
        SELECT r.type, r.target_hash, coalesce(r.block_time, r."timestamp") AS at FROM public.reactions AS r
        WHERE r.target_fid = user_fid AND r.type = ANY (kinds) AND r.deleted_at IS NULL AND r.fid <> ALL (hidden)
          AND coalesce(r.block_time, r."timestamp") <= high
        ORDER BY coalesce(r.block_time, r."timestamp") DESC LIMIT look_at) AS e
      GROUP BY e.type, e.target_hash, day) AS g;
    events := coalesce(events, 0);
    low_reactions := CASE WHEN events < look_at THEN '-infinity' ELSE low_reactions END;
    -- Of what is on the cursor's day, all may have been shown.
    look_at := CASE WHEN events < look_at OR groups >= rows_wanted THEN NULL ELSE look_at * 8 END;
  END LOOP;
  -- Where reactions alone fill the page, older follows are not on it.
  low_follows := low_reactions;
  look_at := CASE WHEN 'follow' = ANY (kinds) AND low_reactions > '-infinity' IS NOT TRUE THEN 8 * rows_wanted END;
  WHILE look_at IS NOT NULL LOOP
    SELECT count(*), date_trunc('day', min(e.at), 'UTC'), count(DISTINCT date_trunc('day', e.at, 'UTC'))
      INTO events, low_follows, groups FROM (
      SELECT coalesce(l.block_time, l."timestamp") AS at FROM public.links AS l
      WHERE l.target_fid = user_fid AND l.type = 'follow' AND l.deleted_at IS NULL AND l.fid <> ALL (hidden)
        AND coalesce(l.block_time, l."timestamp") <= high
      ORDER BY coalesce(l.block_time, l."timestamp") DESC LIMIT look_at) AS e;
    low_follows := CASE WHEN events < look_at THEN '-infinity' ELSE low_follows END;
    look_at := CASE WHEN events < look_at OR groups > rows_wanted THEN NULL ELSE look_at * 8 END;
  END LOOP;
  RETURN QUERY
    WITH told AS (
      (SELECT 'mention' AS kind, m.network_time AS at, encode(m.hash, 'hex') COLLATE "C" AS key, ARRAY[m.fid] AS fids,
          1::bigint AS total, m.hash
        FROM public.cast_mentions AS m
        WHERE 'mention' = ANY (kinds) AND m.mentioned_fid = user_fid AND m.fid <> ALL (hidden)
          AND m.network_time <= least(cursor_at, as_of)
          AND (m.network_time, 'mention', encode(m.hash, 'hex') COLLATE "C") < (cursor_at, cursor_kind, cursor_key)
          AND (SELECT c.parent_fid IS DISTINCT FROM user_fid FROM public.casts AS c
            WHERE c.hash = m.hash AND c.fid = m.fid AND c.deleted_at IS NULL)
        ORDER BY m.network_time DESC FETCH FIRST (rows_wanted) ROWS WITH TIES)
      UNION ALL
      (SELECT 'reply', coalesce(c.block_time, c."timestamp"), encode(c.hash, 'hex') COLLATE "C", ARRAY[c.fid], 1, c.hash
        FROM public.casts AS c
        WHERE 'reply' = ANY (kinds) AND c.parent_fid = user_fid AND c.deleted_at IS NULL AND c.fid <> ALL (hidden)
          AND coalesce(c.block_time, c."timestamp") <= least(cursor_at, as_of)
          AND (coalesce(c.block_time, c."timestamp"), 'reply', encode(c.hash, 'hex') COLLATE "C")
            < (cursor_at, cursor_kind, cursor_key)
        ORDER BY coalesce(c.block_time, c."timestamp") DESC FETCH FIRST (rows_wanted) ROWS WITH TIES)
      UNION ALL
      (SELECT e.type, max(e.at), encode(e.target_hash, 'hex') COLLATE "C",
          (array_agg(e.fid ORDER BY e.at DESC, e.fid DESC))[1:10], count(*), e.target_hash
        FROM (SELECT r.type, r.target_hash, r.fid, coalesce(r.block_time, r."timestamp") AS at FROM public.reactions AS r
          WHERE r.target_fid = user_fid AND r.type = ANY (kinds) AND r.deleted_at IS NULL AND r.fid <> ALL (hidden)
            AND coalesce(r.block_time, r."timestamp") BETWEEN low_reactions AND high OFFSET 0) AS e
        GROUP BY e.type, e.target_hash, date_trunc('day', e.at, 'UTC')
        HAVING (max(e.at), e.type, encode(e.target_hash, 'hex') COLLATE "C") < (cursor_at, cursor_kind, cursor_key)
          AND (SELECT c.deleted_at IS NULL FROM public.casts AS c WHERE c.hash = e.target_hash AND c.fid = user_fid))
      UNION ALL
      (SELECT 'follow', max(e.at), '' COLLATE "C", (array_agg(e.fid ORDER BY e.at DESC, e.fid DESC))[1:10], count(*),
          NULL::bytea
        FROM (SELECT l.fid, coalesce(l.block_time, l."timestamp") AS at FROM public.links AS l
          WHERE 'follow' = ANY (kinds) AND l.target_fid = user_fid AND l.type = 'follow' AND l.deleted_at IS NULL
            AND l.fid <> ALL (hidden) AND coalesce(l.block_time, l."timestamp") BETWEEN low_follows AND high OFFSET 0) AS e
        GROUP BY date_trunc('day', e.at, 'UTC')
        HAVING (max(e.at), 'follow', '' COLLATE "C") < (cursor_at, cursor_kind, cursor_key))
    )
    SELECT t.kind, t.at, t.fids,
      ARRAY(SELECT p.username FROM unnest(t.fids) WITH ORDINALITY AS f (fid, place)
        LEFT JOIN LATERAL (SELECT q.username FROM public.user_profiles AS q
          WHERE q.fid = f.fid AND q.deleted_at IS NULL LIMIT 1) AS p ON true ORDER BY f.place),
      t.total, api.hash_text(t.hash),
      (SELECT api.cast_text(c.text, c.mentions, c.mentions_positions) FROM public.casts AS c
        WHERE c.hash = t.hash AND c.deleted_at IS NULL LIMIT 1),
      api.cursor_of(t.at, (extract(epoch FROM as_of) * 1000000)::bigint || ':' || t.kind || ':' || t.key)
    FROM (SELECT * FROM told AS o ORDER BY o.at DESC, o.kind COLLATE "C" DESC, o.key DESC LIMIT rows_wanted) AS t
    ORDER BY t.at DESC, t.kind COLLATE "C" DESC, t.key DESC;
END $$

-- name: api.newest_of
-- group: forms
-- description: The cursors of the newest casts of users, for a page of them. Newest first by network time; of two that
-- description: reached the network at once the one with the greater hash. Only whoever has one of the newest last casts
-- description: can have one of the newest casts: of all others one row is read.
CREATE OR REPLACE FUNCTION api.newest_of(fids bigint[], viewer bigint, with_replies boolean, page_size integer, cursor text)
RETURNS text[] LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT ARRAY(
    SELECT api.cursor_of(c.at, encode(c.hash, 'hex'))
    FROM (
      SELECT f.fid FROM (SELECT DISTINCT unnest(newest_of.fids) AS fid) AS f
      CROSS JOIN LATERAL (
        SELECT coalesce(s.block_time, s."timestamp") AS at FROM public.casts AS s
        WHERE s.fid = f.fid AND s.deleted_at IS NULL AND (newest_of.with_replies OR s.parent_hash IS NULL)
          AND (coalesce(s.block_time, s."timestamp"), s.hash) < (coalesce((SELECT api.cursor_time(newest_of.cursor)), 'infinity'),
            coalesce((SELECT api.cursor_hash(newest_of.cursor)), '\x'))
        ORDER BY coalesce(s.block_time, s."timestamp") DESC LIMIT 1) AS last
      WHERE f.fid <> ALL ((SELECT api.blocks(newest_of.viewer))::bigint[])
      ORDER BY last.at DESC FETCH FIRST (api.page_rows(newest_of.page_size)) ROWS WITH TIES
    ) AS authors
    CROSS JOIN LATERAL (
      SELECT s.hash, coalesce(s.block_time, s."timestamp") AS at FROM public.casts AS s
      WHERE s.fid = authors.fid AND s.deleted_at IS NULL AND (newest_of.with_replies OR s.parent_hash IS NULL)
        AND (coalesce(s.block_time, s."timestamp"), s.hash) < (coalesce((SELECT api.cursor_time(newest_of.cursor)), 'infinity'),
          coalesce((SELECT api.cursor_hash(newest_of.cursor)), '\x'))
      ORDER BY coalesce(s.block_time, s."timestamp") DESC
      FETCH FIRST (api.page_rows(newest_of.page_size)) ROWS WITH TIES) AS c
    ORDER BY c.at DESC, c.hash DESC LIMIT api.page_rows(newest_of.page_size))
$$;

-- name: api.following_feed
-- group: feeds
-- description: Casts of those whom the viewer follows, newest first, without replies unless asked for.
-- example: SELECT hash, username, text, network_time FROM api.following_feed((SELECT fid FROM links WHERE type = 'follow' AND deleted_at IS NULL LIMIT 1));
CREATE OR REPLACE FUNCTION api.following_feed(viewer bigint, with_replies boolean DEFAULT false,
  page_size integer DEFAULT 25, cursor text DEFAULT NULL)
RETURNS TABLE (shape cast) LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT * FROM api.cast_page(api.newest_of(
    ARRAY(SELECT l.target_fid FROM public.links AS l
      WHERE l.fid = following_feed.viewer AND l.type = 'follow' AND l.deleted_at IS NULL),
    following_feed.viewer, following_feed.with_replies, following_feed.page_size, following_feed.cursor),
    following_feed.viewer)
$$;

-- name: api.feed_of
-- group: feeds
-- description: Casts of a list of users, newest first, without replies unless asked for.
-- example: SELECT hash, username, text, network_time FROM api.feed_of(ARRAY(SELECT fid FROM user_profiles LIMIT 30));
CREATE OR REPLACE FUNCTION api.feed_of(fids bigint[], viewer bigint DEFAULT NULL, with_replies boolean DEFAULT false,
  page_size integer DEFAULT 25, cursor text DEFAULT NULL)
RETURNS TABLE (shape cast) LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT * FROM api.cast_page(
    api.newest_of(feed_of.fids, feed_of.viewer, feed_of.with_replies, feed_of.page_size, feed_of.cursor), feed_of.viewer)
$$;

-- name: api.user_casts
-- group: feeds
-- description: Casts of a user, newest first, as her profile shows them: with replies unless not wanted.
-- example: SELECT hash, text, network_time FROM api.user_casts((SELECT fid FROM casts WHERE deleted_at IS NULL LIMIT 1));
CREATE OR REPLACE FUNCTION api.user_casts(author bigint, viewer bigint DEFAULT NULL, with_replies boolean DEFAULT true,
  page_size integer DEFAULT 25, cursor text DEFAULT NULL)
RETURNS TABLE (shape cast) LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT * FROM api.cast_page(api.newest_of(
    ARRAY[user_casts.author], user_casts.viewer, user_casts.with_replies, user_casts.page_size, user_casts.cursor),
    user_casts.viewer)
$$;

-- name: api.channel_feed
-- group: feeds
-- description: Casts that reply to a URL, such as a channel's, newest first. Replies to them are in their conversations.
-- example: SELECT hash, username, text FROM api.channel_feed((SELECT parent_url FROM casts WHERE parent_url IS NOT NULL AND deleted_at IS NULL LIMIT 1));
CREATE OR REPLACE FUNCTION api.channel_feed(url text, viewer bigint DEFAULT NULL, page_size integer DEFAULT 25,
  cursor text DEFAULT NULL)
RETURNS TABLE (shape cast) LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT * FROM api.cast_page(ARRAY(
    SELECT api.cursor_of(c.at, encode(c.hash, 'hex')) FROM (
      SELECT s.hash, coalesce(s.block_time, s."timestamp") AS at FROM public.casts AS s
      WHERE s.parent_url = channel_feed.url AND s.deleted_at IS NULL
        AND s.fid <> ALL ((SELECT api.blocks(channel_feed.viewer))::bigint[])
        AND (coalesce(s.block_time, s."timestamp"), s.hash) < (coalesce((SELECT api.cursor_time(channel_feed.cursor)), 'infinity'),
          coalesce((SELECT api.cursor_hash(channel_feed.cursor)), '\x'))
      ORDER BY coalesce(s.block_time, s."timestamp") DESC
      FETCH FIRST (api.page_rows(channel_feed.page_size)) ROWS WITH TIES) AS c
    ORDER BY c.at DESC, c.hash DESC LIMIT api.page_rows(channel_feed.page_size)), channel_feed.viewer)
$$;

-- name: api.replies
-- group: feeds
-- description: Casts that reply to a cast itself, newest first. All below it: api.conversation.
-- example: SELECT hash, username, text FROM api.replies((SELECT api.hash_text(parent_hash) FROM cast_threads WHERE depth = 1 LIMIT 1));
CREATE OR REPLACE FUNCTION api.replies(cast_hash text, viewer bigint DEFAULT NULL, page_size integer DEFAULT 25,
  cursor text DEFAULT NULL)
RETURNS TABLE (shape cast) LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT * FROM api.cast_page(ARRAY(
    SELECT api.cursor_of(c.at, encode(c.hash, 'hex')) FROM (
      SELECT s.hash, coalesce(s.block_time, s."timestamp") AS at FROM public.casts AS s
      WHERE s.parent_hash = api.hash_bytes(replies.cast_hash) AND s.deleted_at IS NULL
        AND s.fid <> ALL ((SELECT api.blocks(replies.viewer))::bigint[])
        AND (coalesce(s.block_time, s."timestamp"), s.hash) < (coalesce((SELECT api.cursor_time(replies.cursor)), 'infinity'),
          coalesce((SELECT api.cursor_hash(replies.cursor)), '\x'))
      ORDER BY coalesce(s.block_time, s."timestamp") DESC
      FETCH FIRST (api.page_rows(replies.page_size)) ROWS WITH TIES) AS c
    ORDER BY c.at DESC, c.hash DESC LIMIT api.page_rows(replies.page_size)), replies.viewer)
$$;

-- name: api.conversation
-- group: feeds
-- description: The thread that a cast is in, wherever in it that is: its root and all replies at any distance, with their
-- description: depth, oldest first, so that it can be read; the root, where it is here, is its first row.
-- example: SELECT depth, hash, parent_hash, username, text FROM api.conversation((SELECT api.hash_text(hash) FROM cast_threads WHERE depth = 2 LIMIT 1));
CREATE OR REPLACE FUNCTION api.conversation(cast_hash text, viewer bigint DEFAULT NULL, page_size integer DEFAULT 25,
  cursor text DEFAULT NULL)
RETURNS TABLE (shape cast) LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT * FROM api.cast_page(ARRAY(
    SELECT api.cursor_of(c.at, encode(c.hash, 'hex'))
    FROM (SELECT coalesce((SELECT t.root_hash FROM public.cast_threads AS t WHERE t.hash = h.hash), h.hash) AS hash
      FROM (SELECT api.hash_bytes(conversation.cast_hash) AS hash) AS h) AS root
    CROSS JOIN LATERAL (
      -- The root stands before what may have been known before it.
      (SELECT s.hash, '1970-01-01 00:00:00+00'::timestamptz AS at FROM public.casts AS s
        WHERE s.hash = root.hash AND s.deleted_at IS NULL
          AND s.fid <> ALL ((SELECT api.blocks(conversation.viewer))::bigint[]) LIMIT 1)
      UNION ALL
      (SELECT t.hash, t.network_time FROM public.cast_threads AS t
        WHERE t.root_hash = root.hash AND t.depth > 0
          AND t.network_time >= coalesce((SELECT api.cursor_time(conversation.cursor)), '-infinity')
          AND (t.network_time, t.hash) > (coalesce((SELECT api.cursor_time(conversation.cursor)), '-infinity'),
            coalesce((SELECT api.cursor_hash(conversation.cursor)), '\x'))
          AND t.fid <> ALL ((SELECT api.blocks(conversation.viewer))::bigint[])
        ORDER BY t.network_time, t.hash LIMIT api.page_rows(conversation.page_size))) AS c
    WHERE (c.at, c.hash) > (coalesce((SELECT api.cursor_time(conversation.cursor)), '-infinity'),
      coalesce((SELECT api.cursor_hash(conversation.cursor)), '\x'))
    ORDER BY c.at, c.hash LIMIT api.page_rows(conversation.page_size)), conversation.viewer)
$$;

-- name: api.liked_casts
-- group: feeds
-- description: Casts that a user liked (or recast), the latest like first.
-- example: SELECT hash, username, text FROM api.liked_casts((SELECT fid FROM reactions WHERE type = 'like' AND target_hash IS NOT NULL AND deleted_at IS NULL LIMIT 1));
CREATE OR REPLACE FUNCTION api.liked_casts(user_fid bigint, viewer bigint DEFAULT NULL, reaction text DEFAULT 'like',
  page_size integer DEFAULT 25, cursor text DEFAULT NULL)
RETURNS TABLE (shape cast) LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT * FROM api.cast_page(ARRAY(
    SELECT api.cursor_of(f.at, encode(f.target_hash, 'hex')) FROM (
      SELECT r.target_hash, coalesce(r.block_time, r."timestamp") AS at FROM public.reactions AS r
      WHERE r.fid = liked_casts.user_fid AND r.type = api.reaction_type(liked_casts.reaction) AND r.deleted_at IS NULL
        AND (coalesce(r.block_time, r."timestamp"), r.target_hash) < (coalesce((SELECT api.cursor_time(liked_casts.cursor)),
          'infinity'), coalesce((SELECT api.cursor_hash(liked_casts.cursor)), '\x'))
        AND r.target_fid <> ALL ((SELECT api.blocks(liked_casts.viewer))::bigint[])
        AND (SELECT c.deleted_at IS NULL FROM public.casts AS c WHERE c.hash = r.target_hash AND c.fid = r.target_fid)
      ORDER BY coalesce(r.block_time, r."timestamp") DESC
      FETCH FIRST (api.page_rows(liked_casts.page_size)) ROWS WITH TIES) AS f
    ORDER BY f.at DESC, f.target_hash DESC LIMIT api.page_rows(liked_casts.page_size)), liked_casts.viewer)
$$;

-- name: api.top_casts
-- group: feeds
-- description: Casts of a user with the most likes, replies included, of all time or of those since a moment.
-- example: SELECT hash, text, likes FROM api.top_casts((SELECT target_fid FROM reactions WHERE type = 'like' AND target_hash IS NOT NULL AND deleted_at IS NULL LIMIT 1));
CREATE OR REPLACE FUNCTION api.top_casts(author bigint, viewer bigint DEFAULT NULL, since timestamptz DEFAULT '-infinity',
  page_size integer DEFAULT 25, cursor text DEFAULT NULL)
RETURNS TABLE (shape cast) LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT * FROM api.cast_page(ARRAY(
    SELECT c.likes || '.' || encode(c.hash, 'hex') FROM (
      SELECT s.hash, coalesce((SELECT n.likes FROM public.cast_counts AS n WHERE n.hash = s.hash), 0) AS likes
      FROM public.casts AS s
      WHERE s.fid = top_casts.author AND s.deleted_at IS NULL
        AND coalesce(s.block_time, s."timestamp") >= coalesce(top_casts.since, '-infinity')
        AND s.fid <> ALL ((SELECT api.blocks(top_casts.viewer))::bigint[])) AS c
    WHERE (c.likes, c.hash) < (coalesce((SELECT api.cursor_number(top_casts.cursor)), 9223372036854775807),
      coalesce((SELECT api.cursor_hash(top_casts.cursor)), '\x'))
    ORDER BY c.likes DESC, c.hash DESC LIMIT api.page_rows(top_casts.page_size)), top_casts.viewer)
$$;

-- name: api.trending
-- group: feeds
-- description: Casts that were liked and recast the most in a stretch of time, which ends now or at the moment given. For
-- description: further pages give the same end: the places are of that stretch.
-- example: SELECT hash, username, text, likes, recasts FROM api.trending(until => (SELECT max(timestamp) FROM reactions));
CREATE OR REPLACE FUNCTION api.trending(span interval DEFAULT '1 day', until timestamptz DEFAULT NULL,
  viewer bigint DEFAULT NULL, page_size integer DEFAULT 25, cursor text DEFAULT NULL)
RETURNS TABLE (shape cast) LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
#variable_conflict use_column
DECLARE
  rows_wanted bigint := api.page_rows(page_size);
  last_time timestamptz := coalesce(until, now());
  hidden bigint[] := api.blocks(viewer);
  cursor_score bigint := coalesce(api.cursor_number(cursor), 9223372036854775807);
  cursor_key bytea := coalesce(api.cursor_hash(cursor), '\x');
  look_at bigint := 4 * rows_wanted;
  looked_at bigint;
  cursors text[];
BEGIN
  LOOP
    -- The first few are found without all being put in order; of those that are hidden or gone there are few.
    SELECT count(*), array_agg(f.score || '.' || encode(f.hash, 'hex') ORDER BY f.score DESC, f.hash DESC) FILTER (
        WHERE f.fid <> ALL (hidden)
          AND (SELECT c.deleted_at IS NULL FROM public.casts AS c WHERE c.hash = f.hash AND c.fid = f.fid))
      INTO looked_at, cursors FROM (
      SELECT r.target_hash AS hash, r.target_fid AS fid, count(*) AS score FROM public.reactions AS r
      WHERE coalesce(r.block_time, r."timestamp") > last_time - span
        AND coalesce(r.block_time, r."timestamp") <= last_time AND r.deleted_at IS NULL AND r.target_hash IS NOT NULL
      GROUP BY r.target_hash, r.target_fid HAVING (count(*), r.target_hash) < (cursor_score, cursor_key)
      ORDER BY count(*) DESC, r.target_hash DESC LIMIT look_at) AS f;
    EXIT WHEN cardinality(cursors) >= rows_wanted OR looked_at < look_at;
    look_at := look_at * 8;
  END LOOP;
  RETURN QUERY SELECT * FROM api.cast_page(cursors[1:rows_wanted], viewer);
END $$

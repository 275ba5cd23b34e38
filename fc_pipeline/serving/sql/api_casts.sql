-- shape: cast
hash text, -- The cast
fid bigint, -- Its author
username text, -- Name that the author shows
display_name text, -- Display name of the author
pfp_url text, -- Picture of the author
text text, -- Text, the @names of its mentions put in (`api.cast_text`)
network_time timestamptz, -- When it reached the network: its block's time, or what its author says where that is not known
"timestamp" timestamptz, -- When its author says that it was made
parent_hash text, -- The cast that it replies to
parent_fid bigint, -- Author of the cast that it replies to
parent_url text, -- URL or channel that it replies to
root_hash text, -- First cast of its thread, as far as it is known
depth integer, -- Replies from the root to it: 0 for a root
mentions bigint[], -- Who is mentioned, by FID
embeds jsonb, -- What it embeds, in its order: {"url": …}, or {"cast": {"hash", "fid", "username", "text", "network_time"}}
app_fid bigint, -- App by which it was made, if that is known
replies bigint, -- Casts that reply to it
likes bigint, -- Likes
recasts bigint, -- Recasts
quotes bigint, -- Casts that embed it
viewer_liked boolean, -- Whether the viewer has liked it; null without a viewer
viewer_recast boolean, -- Whether the viewer has recast it; null without a viewer
next_cursor text -- Continues the list behind this row, as `cursor` of the same call

-- name: api.cast_page
-- group: forms
-- description: The casts of a list of cursors, in its order: what all calls have in common that show casts. A cast that is
-- description: deleted, or of a user whom the viewer blocks or who blocks her, is left out; one that is embedded has no
-- description: text then.
CREATE OR REPLACE FUNCTION api.cast_page(cursors text[], viewer bigint) RETURNS TABLE (shape cast)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT api.hash_text(c.hash), c.fid, p.username, p.display_name, p.pfp_url,
    CASE WHEN cardinality(c.mentions) > 0 THEN api.cast_text(c.text, c.mentions, c.mentions_positions) ELSE c.text END,
    coalesce(c.block_time, c."timestamp"), c."timestamp",
    api.hash_text(c.parent_hash), c.parent_fid, c.parent_url, api.hash_text(t.root_hash), t.depth,
    coalesce(c.mentions, '{}'), coalesce(e.embeds, '[]'), c.app_fid,
    coalesce(n.replies, 0), coalesce(n.likes, 0), coalesce(n.recasts, 0), coalesce(n.quotes, 0),
    CASE WHEN cast_page.viewer IS NOT NULL THEN coalesce((SELECT r.deleted_at IS NULL FROM public.reactions AS r
      WHERE r.fid = cast_page.viewer AND r.type = 'like' AND r.target = '\x01'::bytea || int8send(c.fid) || c.hash), false) END,
    CASE WHEN cast_page.viewer IS NOT NULL THEN coalesce((SELECT r.deleted_at IS NULL FROM public.reactions AS r
      WHERE r.fid = cast_page.viewer AND r.type = 'recast' AND r.target = '\x01'::bytea || int8send(c.fid) || c.hash), false)
    END,
    k.cursor
  FROM unnest(cast_page.cursors) WITH ORDINALITY AS k (cursor, place)
  CROSS JOIN LATERAL (SELECT s.* FROM public.casts AS s
    WHERE s.hash = api.cursor_hash(k.cursor) AND s.deleted_at IS NULL LIMIT 1) AS c
  LEFT JOIN LATERAL (SELECT s.* FROM public.user_profiles AS s
    WHERE s.fid = c.fid AND s.deleted_at IS NULL LIMIT 1) AS p ON true
  LEFT JOIN LATERAL (SELECT s.* FROM public.cast_threads AS s WHERE s.hash = c.hash LIMIT 1) AS t ON true
  LEFT JOIN LATERAL (SELECT s.* FROM public.cast_counts AS s WHERE s.hash = c.hash LIMIT 1) AS n ON true
  LEFT JOIN LATERAL (
    SELECT jsonb_agg(CASE WHEN s.cast_hash IS NULL THEN jsonb_build_object('url', s.url) ELSE jsonb_build_object('cast',
      jsonb_build_object('hash', api.hash_text(s.cast_hash), 'fid', coalesce(q.fid, s.cast_fid), 'username', q.username,
        'text', q.text, 'network_time', q.network_time)) END ORDER BY s.position) AS embeds
    FROM public.embeds AS s
    LEFT JOIN LATERAL (
      SELECT o.fid, coalesce(o.block_time, o."timestamp") AS network_time,
        (SELECT u.username FROM public.user_profiles AS u WHERE u.fid = o.fid AND u.deleted_at IS NULL) AS username,
        CASE WHEN cardinality(o.mentions) > 0 THEN api.cast_text(o.text, o.mentions, o.mentions_positions) ELSE o.text END
          AS text
      FROM public.casts AS o
      WHERE o.hash = s.cast_hash AND o.deleted_at IS NULL
        AND o.fid <> ALL ((SELECT api.blocks(cast_page.viewer))::bigint[]) LIMIT 1) AS q ON true
    WHERE s.hash = c.hash AND s.deleted_at IS NULL
  ) AS e ON true
  WHERE c.fid <> ALL ((SELECT api.blocks(cast_page.viewer))::bigint[])
  ORDER BY k.place
$$;

-- name: api.casts_by_hash
-- group: casts
-- description: Casts by their hashes, each once, in the order of the list; those that are not here or deleted are left out.
-- description: 100 at most.
-- example: SELECT hash, username, text, likes FROM api.casts_by_hash(ARRAY(SELECT api.hash_text(hash) FROM casts WHERE deleted_at IS NULL LIMIT 3));
CREATE OR REPLACE FUNCTION api.casts_by_hash(hashes text[], viewer bigint DEFAULT NULL) RETURNS TABLE (shape cast)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT * FROM api.cast_page(ARRAY(
    SELECT '0.' || encode(h.hash, 'hex') FROM (
      SELECT api.hash_bytes(g.hash) AS hash, min(g.place) AS place
      FROM unnest(casts_by_hash.hashes) WITH ORDINALITY AS g (hash, place) GROUP BY 1) AS h
    WHERE h.hash IS NOT NULL ORDER BY h.place LIMIT api.bulk(cardinality(casts_by_hash.hashes))), casts_by_hash.viewer)
$$;

-- name: api.cast_by_hash
-- group: casts
-- description: One cast by its hash; no row if it is not here or deleted.
-- example: SELECT * FROM api.cast_by_hash((SELECT api.hash_text(hash) FROM casts WHERE deleted_at IS NULL LIMIT 1));
CREATE OR REPLACE FUNCTION api.cast_by_hash(cast_hash text, viewer bigint DEFAULT NULL) RETURNS TABLE (shape cast)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT * FROM api.cast_page(ARRAY['0.' || encode(api.hash_bytes(cast_by_hash.cast_hash), 'hex')], cast_by_hash.viewer)
$$;

-- name: api.cast_context
-- group: viewer
-- description: Of casts by their hashes: whether the viewer has liked and recast each. 100 at most; all are answered.
-- example: SELECT * FROM api.cast_context(viewer => 3, hashes => ARRAY(SELECT api.hash_text(hash) FROM casts LIMIT 3));
CREATE OR REPLACE FUNCTION api.cast_context(viewer bigint, hashes text[])
RETURNS TABLE (hash text, viewer_liked boolean, viewer_recast boolean) LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT api.hash_text(h.hash),
    coalesce((SELECT r.deleted_at IS NULL FROM public.reactions AS r WHERE r.fid = cast_context.viewer AND r.type = 'like'
      AND r.target = '\x01'::bytea || int8send(c.fid) || h.hash), false),
    coalesce((SELECT r.deleted_at IS NULL FROM public.reactions AS r WHERE r.fid = cast_context.viewer AND r.type = 'recast'
      AND r.target = '\x01'::bytea || int8send(c.fid) || h.hash), false)
  FROM (SELECT api.hash_bytes(g.hash) AS hash, min(g.place) AS place
    FROM unnest(cast_context.hashes) WITH ORDINALITY AS g (hash, place) GROUP BY 1) AS h
  LEFT JOIN LATERAL (SELECT s.fid FROM public.casts AS s WHERE s.hash = h.hash AND s.deleted_at IS NULL LIMIT 1) AS c ON true
  WHERE h.hash IS NOT NULL ORDER BY h.place LIMIT api.bulk(cardinality(cast_context.hashes))
$$

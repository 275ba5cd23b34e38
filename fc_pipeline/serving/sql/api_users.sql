-- shape: user
fid bigint, -- The user
username text, -- Name that she shows
display_name text, -- Display name
bio text, -- Bio
pfp_url text, -- Picture
banner_url text, -- Banner picture
url text, -- Web site
location text, -- geo:LAT,LON
custody_address text, -- Address that owns the FID
eth_address text, -- Her primary Ethereum address
sol_address text, -- Her primary Solana address
registered_at timestamptz, -- When the FID was registered
pro_until timestamptz, -- When Pro ends; null if never bought
followers bigint, -- Users who follow her
"following" bigint, -- Users whom she follows
casts bigint, -- Her casts, replies included
viewer_follows boolean, -- Whether the viewer follows her; null without a viewer
follows_viewer boolean, -- Whether she follows the viewer; null without a viewer
next_cursor text -- Continues the list behind this row, as `cursor` of the same call

-- name: api.user_page
-- group: forms
-- description: The users of a list of cursors, in its order: what all calls have in common that show users. Who has no
-- description: profile, or blocks the viewer or is blocked by her, is left out.
CREATE OR REPLACE FUNCTION api.user_page(cursors text[], viewer bigint) RETURNS TABLE (shape user)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT p.fid, p.username, p.display_name, p.bio, p.pfp_url, p.banner_url, p.url, p.location, p.custody_address,
    p.primary_eth_address, p.primary_sol_address, p.registered_at, p.pro_until,
    coalesce(n.followers, 0), coalesce(n.following, 0), coalesce(n.casts, 0),
    CASE WHEN user_page.viewer IS NOT NULL THEN coalesce((SELECT l.deleted_at IS NULL FROM public.links AS l
      WHERE l.fid = user_page.viewer AND l.type = 'follow' AND l.target_fid = p.fid), false) END,
    CASE WHEN user_page.viewer IS NOT NULL THEN coalesce((SELECT l.deleted_at IS NULL FROM public.links AS l
      WHERE l.fid = p.fid AND l.type = 'follow' AND l.target_fid = user_page.viewer), false) END,
    k.cursor
  FROM unnest(user_page.cursors) WITH ORDINALITY AS k (cursor, place)
  CROSS JOIN LATERAL (SELECT s.* FROM public.user_profiles AS s
    WHERE s.fid = api.cursor_fid(k.cursor) AND s.deleted_at IS NULL LIMIT 1) AS p
  LEFT JOIN LATERAL (SELECT s.* FROM public.user_counts AS s WHERE s.fid = p.fid LIMIT 1) AS n ON true
  WHERE p.fid <> ALL ((SELECT api.blocks(user_page.viewer))::bigint[])
  ORDER BY k.place
$$;

-- name: api.users
-- group: users
-- description: Users by FID, each once, in the order of the list; those without a profile are left out. 100 at most.
-- example: SELECT fid, username, followers FROM api.users(ARRAY(SELECT fid FROM user_profiles LIMIT 3), viewer => 3);
CREATE OR REPLACE FUNCTION api.users(fids bigint[], viewer bigint DEFAULT NULL) RETURNS TABLE (shape user)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT * FROM api.user_page(ARRAY(
    SELECT '0.' || f.fid FROM unnest(users.fids) WITH ORDINALITY AS f (fid, place)
    WHERE f.fid >= 0 GROUP BY f.fid ORDER BY min(f.place) LIMIT api.bulk(cardinality(users.fids))), users.viewer)
$$;

-- name: api.user_by_name
-- group: users
-- description: The user who shows a name, in upper or lower case, with @ in front or not.
-- example: SELECT fid, username, bio FROM api.user_by_name((SELECT '@' || username FROM user_profiles WHERE username IS NOT NULL LIMIT 1));
CREATE OR REPLACE FUNCTION api.user_by_name(name text, viewer bigint DEFAULT NULL) RETURNS TABLE (shape user)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT * FROM api.user_page(ARRAY(
    SELECT '0.' || p.fid FROM public.user_profiles AS p
    WHERE lower(p.username) = lower(ltrim(user_by_name.name, '@')) AND p.deleted_at IS NULL ORDER BY p.fid),
    user_by_name.viewer)
$$;

-- name: api.users_by_prefix
-- group: users
-- description: Users whose name or display name begins with a text, in upper or lower case, the most followed first: what a
-- description: field completes that is typed into. Of a beginning that more than 1,000 names have, the first 1,000 in the
-- description: alphabet are looked at, and as many display names.
-- example: SELECT fid, username, display_name, followers FROM api.users_by_prefix((SELECT left(username, 2) FROM user_profiles WHERE username IS NOT NULL LIMIT 1));
CREATE OR REPLACE FUNCTION api.users_by_prefix(prefix text, viewer bigint DEFAULT NULL, page_size integer DEFAULT 25)
RETURNS TABLE (shape user) LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT * FROM api.user_page(ARRAY(
    SELECT coalesce(n.followers, 0) || '.' || f.fid
    FROM (
      (SELECT p.fid FROM public.user_profiles AS p
        WHERE lower(p.username) ~>=~ lower(ltrim(users_by_prefix.prefix, '@')) AND p.deleted_at IS NULL
          AND lower(p.username) ~<~ (lower(ltrim(users_by_prefix.prefix, '@')) || U&'\+10FFFF')
        ORDER BY lower(p.username) USING ~<~ LIMIT 1000)
      UNION (SELECT p.fid FROM public.user_profiles AS p
        WHERE lower(p.display_name) ~>=~ lower(users_by_prefix.prefix) AND p.deleted_at IS NULL
          AND lower(p.display_name) ~<~ (lower(users_by_prefix.prefix) || U&'\+10FFFF')
        ORDER BY lower(p.display_name) USING ~<~ LIMIT 1000)) AS f
    LEFT JOIN LATERAL (SELECT s.followers FROM public.user_counts AS s WHERE s.fid = f.fid LIMIT 1) AS n ON true
    WHERE f.fid <> ALL ((SELECT api.blocks(users_by_prefix.viewer))::bigint[])
    ORDER BY coalesce(n.followers, 0) DESC, f.fid LIMIT api.page_rows(users_by_prefix.page_size)), users_by_prefix.viewer)
$$;

-- name: api.users_by_address
-- group: users
-- description: Users who verified one of these addresses, Ethereum or Solana, or own their FID by it, by FID. 100 addresses
-- description: at most.
-- example: SELECT fid, username, eth_address FROM api.users_by_address(ARRAY(SELECT address FROM verifications WHERE deleted_at IS NULL LIMIT 2));
CREATE OR REPLACE FUNCTION api.users_by_address(addresses text[], viewer bigint DEFAULT NULL) RETURNS TABLE (shape user)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT * FROM api.user_page(ARRAY(
    SELECT '0.' || f.fid
    FROM (SELECT CASE WHEN g.address ~* '^0x' THEN lower(g.address) ELSE g.address END AS address
      FROM unnest(users_by_address.addresses) AS g (address)
      LIMIT api.bulk(cardinality(users_by_address.addresses))) AS a
    CROSS JOIN LATERAL (
      (SELECT v.fid FROM public.verifications AS v WHERE v.address = a.address AND v.deleted_at IS NULL)
      UNION (SELECT p.fid FROM public.user_profiles AS p WHERE p.custody_address = a.address AND p.deleted_at IS NULL)) AS f
    GROUP BY f.fid ORDER BY f.fid), users_by_address.viewer)
$$;

-- name: api.user_context
-- group: viewer
-- description: Of users by FID: whether the viewer follows and blocks each, and each her. 100 at most; all are answered.
-- example: SELECT * FROM api.user_context(viewer => 3, fids => ARRAY(SELECT fid FROM user_profiles LIMIT 3));
CREATE OR REPLACE FUNCTION api.user_context(viewer bigint, fids bigint[])
RETURNS TABLE (fid bigint, viewer_follows boolean, follows_viewer boolean, viewer_blocks boolean, blocks_viewer boolean)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT f.fid,
    coalesce((SELECT l.deleted_at IS NULL FROM public.links AS l
      WHERE l.fid = user_context.viewer AND l.type = 'follow' AND l.target_fid = f.fid), false),
    coalesce((SELECT l.deleted_at IS NULL FROM public.links AS l
      WHERE l.fid = f.fid AND l.type = 'follow' AND l.target_fid = user_context.viewer), false),
    coalesce((SELECT l.deleted_at IS NULL FROM public.links AS l
      WHERE l.fid = user_context.viewer AND l.type = 'block' AND l.target_fid = f.fid), false),
    coalesce((SELECT l.deleted_at IS NULL FROM public.links AS l
      WHERE l.fid = f.fid AND l.type = 'block' AND l.target_fid = user_context.viewer), false)
  FROM (SELECT g.fid, min(g.place) AS place FROM unnest(user_context.fids) WITH ORDINALITY AS g (fid, place)
    WHERE g.fid IS NOT NULL GROUP BY g.fid) AS f
  ORDER BY f.place LIMIT api.bulk(cardinality(user_context.fids))
$$;

-- name: api.cast_reactions
-- group: casts
-- description: Users who liked (or recast) a cast, the latest first.
-- example: SELECT fid, username FROM api.cast_reactions((SELECT api.hash_text(target_hash) FROM reactions WHERE type = 'like' AND target_hash IS NOT NULL AND deleted_at IS NULL LIMIT 1));
CREATE OR REPLACE FUNCTION api.cast_reactions(cast_hash text, viewer bigint DEFAULT NULL, reaction text DEFAULT 'like',
  page_size integer DEFAULT 25, cursor text DEFAULT NULL)
RETURNS TABLE (shape user) LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT * FROM api.user_page(ARRAY(
    SELECT api.cursor_of(f.at, f.fid::text) FROM (
      SELECT r.fid, coalesce(r.block_time, r."timestamp") AS at FROM public.reactions AS r
      WHERE r.target_hash = api.hash_bytes(cast_reactions.cast_hash)
        AND r.type = api.reaction_type(cast_reactions.reaction) AND r.deleted_at IS NULL
        AND (coalesce(r.block_time, r."timestamp"), r.fid) < (
          coalesce((SELECT api.cursor_time(cast_reactions.cursor)), 'infinity'),
          coalesce((SELECT api.cursor_fid(cast_reactions.cursor)), 0))
        AND r.fid <> ALL ((SELECT api.blocks(cast_reactions.viewer))::bigint[])
        AND (SELECT p.deleted_at IS NULL FROM public.user_profiles AS p WHERE p.fid = r.fid)
      ORDER BY coalesce(r.block_time, r."timestamp") DESC
      FETCH FIRST (api.page_rows(cast_reactions.page_size)) ROWS WITH TIES) AS f
    ORDER BY f.at DESC, f.fid DESC LIMIT api.page_rows(cast_reactions.page_size)), cast_reactions.viewer)
$$;

-- name: api.followers
-- group: follows
-- description: Users who follow a user, the latest first.
-- example: SELECT fid, username FROM api.followers((SELECT target_fid FROM links WHERE type = 'follow' AND deleted_at IS NULL LIMIT 1));
CREATE OR REPLACE FUNCTION api.followers(user_fid bigint, viewer bigint DEFAULT NULL, page_size integer DEFAULT 25,
  cursor text DEFAULT NULL)
RETURNS TABLE (shape user) LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT * FROM api.user_page(ARRAY(
    SELECT api.cursor_of(f.at, f.fid::text) FROM (
      SELECT l.fid, coalesce(l.block_time, l."timestamp") AS at FROM public.links AS l
      WHERE l.target_fid = followers.user_fid AND l.type = 'follow' AND l.deleted_at IS NULL
        AND (coalesce(l.block_time, l."timestamp"), l.fid) < (
          coalesce((SELECT api.cursor_time(followers.cursor)), 'infinity'),
          coalesce((SELECT api.cursor_fid(followers.cursor)), 0))
        AND l.fid <> ALL ((SELECT api.blocks(followers.viewer))::bigint[])
        AND (SELECT p.deleted_at IS NULL FROM public.user_profiles AS p WHERE p.fid = l.fid)
      ORDER BY coalesce(l.block_time, l."timestamp") DESC
      FETCH FIRST (api.page_rows(followers.page_size)) ROWS WITH TIES) AS f
    ORDER BY f.at DESC, f.fid DESC LIMIT api.page_rows(followers.page_size)), followers.viewer)
$$;

-- name: api.following
-- group: follows
-- description: Users whom a user follows, the latest first.
-- example: SELECT fid, username FROM api.following((SELECT fid FROM links WHERE type = 'follow' AND deleted_at IS NULL LIMIT 1));
CREATE OR REPLACE FUNCTION api.following(user_fid bigint, viewer bigint DEFAULT NULL, page_size integer DEFAULT 25,
  cursor text DEFAULT NULL)
RETURNS TABLE (shape user) LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT * FROM api.user_page(ARRAY(
    SELECT api.cursor_of(f.at, f.fid::text) FROM (
      SELECT l.target_fid AS fid, coalesce(l.block_time, l."timestamp") AS at FROM public.links AS l
      WHERE l.fid = following.user_fid AND l.type = 'follow' AND l.deleted_at IS NULL OFFSET 0) AS f
    WHERE (f.at, f.fid) < (coalesce((SELECT api.cursor_time(following.cursor)), 'infinity'),
        coalesce((SELECT api.cursor_fid(following.cursor)), 0))
      AND f.fid <> ALL ((SELECT api.blocks(following.viewer))::bigint[])
      AND (SELECT p.deleted_at IS NULL FROM public.user_profiles AS p WHERE p.fid = f.fid)
    ORDER BY f.at DESC, f.fid DESC LIMIT api.page_rows(following.page_size)), following.viewer)
$$;

-- name: api.mutual_follows
-- group: follows
-- description: Users whom a user follows and who follow her, the one first whom she followed last.
-- example: SELECT fid, username FROM api.mutual_follows((SELECT a.fid FROM links a JOIN links b ON b.fid = a.target_fid AND b.target_fid = a.fid AND b.type = 'follow' AND b.deleted_at IS NULL WHERE a.type = 'follow' AND a.deleted_at IS NULL LIMIT 1));
CREATE OR REPLACE FUNCTION api.mutual_follows(user_fid bigint, viewer bigint DEFAULT NULL, page_size integer DEFAULT 25,
  cursor text DEFAULT NULL)
RETURNS TABLE (shape user) LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT * FROM api.user_page(ARRAY(
    SELECT api.cursor_of(f.at, f.fid::text) FROM (
      SELECT l.target_fid AS fid, coalesce(l.block_time, l."timestamp") AS at FROM public.links AS l
      WHERE l.fid = mutual_follows.user_fid AND l.type = 'follow' AND l.deleted_at IS NULL OFFSET 0) AS f
    WHERE (f.at, f.fid) < (coalesce((SELECT api.cursor_time(mutual_follows.cursor)), 'infinity'),
        coalesce((SELECT api.cursor_fid(mutual_follows.cursor)), 0))
      AND f.fid <> ALL ((SELECT api.blocks(mutual_follows.viewer))::bigint[])
      AND (SELECT b.deleted_at IS NULL FROM public.links AS b
        WHERE b.fid = f.fid AND b.type = 'follow' AND b.target_fid = mutual_follows.user_fid)
      AND (SELECT p.deleted_at IS NULL FROM public.user_profiles AS p WHERE p.fid = f.fid)
    ORDER BY f.at DESC, f.fid DESC LIMIT api.page_rows(mutual_follows.page_size)), mutual_follows.viewer)
$$;

-- name: api.suggested_follows
-- group: follows
-- description: Users whom a user does not follow, and whom the most of those follow whom she follows. Of these the first 200
-- description: by FID are asked, and of each the first 200 follows by FID.
-- example: SELECT fid, username FROM api.suggested_follows((SELECT fid FROM user_counts WHERE following > 1 ORDER BY following DESC LIMIT 1));
CREATE OR REPLACE FUNCTION api.suggested_follows(user_fid bigint, page_size integer DEFAULT 25)
RETURNS TABLE (shape user) LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT * FROM api.user_page(ARRAY(
    SELECT f.followed_by || '.' || f.fid FROM (
      SELECT far.target_fid AS fid, count(*) AS followed_by
      FROM (SELECT l.target_fid FROM public.links AS l
        WHERE l.fid = suggested_follows.user_fid AND l.type = 'follow' AND l.deleted_at IS NULL
        ORDER BY l.target_fid LIMIT 200) AS near
      CROSS JOIN LATERAL (SELECT l.target_fid FROM public.links AS l
        WHERE l.fid = near.target_fid AND l.type = 'follow' AND l.deleted_at IS NULL
        ORDER BY l.target_fid LIMIT 200) AS far
      WHERE far.target_fid <> suggested_follows.user_fid
      GROUP BY far.target_fid ORDER BY 2 DESC, 1 OFFSET 0) AS f -- only those that are shown are looked up
    WHERE f.fid <> ALL ((SELECT api.blocks(suggested_follows.user_fid))::bigint[])
      AND (SELECT l.deleted_at IS NULL FROM public.links AS l
        WHERE l.fid = suggested_follows.user_fid AND l.type = 'follow' AND l.target_fid = f.fid) IS NOT TRUE
      AND (SELECT p.deleted_at IS NULL FROM public.user_profiles AS p WHERE p.fid = f.fid)
    ORDER BY f.followed_by DESC, f.fid LIMIT api.page_rows(suggested_follows.page_size)), suggested_follows.user_fid)
$$

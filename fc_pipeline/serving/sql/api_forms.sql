-- name: api.hash_text
-- group: forms
-- description: A hash as all calls show it: 0x and lower hex.
-- example: SELECT api.hash_text(hash) FROM casts WHERE deleted_at IS NULL LIMIT 3;
CREATE OR REPLACE FUNCTION api.hash_text(hash bytea) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT '0x' || pg_catalog.encode(hash, 'hex') $$;

-- name: api.hash_bytes
-- group: forms
-- description: A hash of hex digits, with 0x or without, in upper or lower case, as the tables have it. Other text is an
-- description: error.
-- example: SELECT text FROM casts WHERE hash = api.hash_bytes('0xbab8da9fed7545b88c03e44cf7daf16ec71b9275') AND deleted_at IS NULL;
CREATE OR REPLACE FUNCTION api.hash_bytes(hash text) RETURNS bytea LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
  IF hash !~ '^(0[xX])?([0-9a-fA-F]{2})+$' THEN
    RAISE EXCEPTION 'not a hash: %', left(hash, 100) USING ERRCODE = 'invalid_parameter_value',
      HINT = 'write it in hex digits, 0x in front or not';
  END IF;
  RETURN decode(regexp_replace(hash, '^0[xX]', ''), 'hex');
END $$;

-- name: api.page_rows
-- group: forms
-- description: How many rows a page has: what was asked for, 25 by default, 100 at most. Less than one is an error.
CREATE OR REPLACE FUNCTION api.page_rows(page_size integer) RETURNS bigint LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
  IF page_size < 1 THEN
    RAISE EXCEPTION 'a page of % rows', page_size USING ERRCODE = 'invalid_parameter_value',
      HINT = 'ask for 1 to 100 rows';
  END IF;
  RETURN least(coalesce(page_size, 25), 100);
END $$;

-- name: api.bulk
-- group: forms
-- description: How many keys a list has, where that many may be asked for at once: 100. More is an error.
CREATE OR REPLACE FUNCTION api.bulk(keys integer) RETURNS bigint LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
  IF keys > 100 THEN
    RAISE EXCEPTION '% at once', keys USING ERRCODE = 'invalid_parameter_value', HINT = 'ask for 100 at most';
  END IF;
  RETURN keys;
END $$;

-- name: api.reaction_type
-- group: forms
-- description: A type of reaction, as the tables have it: like or recast. Other text is an error.
CREATE OR REPLACE FUNCTION api.reaction_type(reaction text) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
  IF reaction NOT IN ('like', 'recast') THEN
    RAISE EXCEPTION 'no type of reaction: %', left(reaction, 100) USING ERRCODE = 'invalid_parameter_value',
      HINT = 'it is like or recast';
  END IF;
  RETURN coalesce(reaction, 'like');
END $$;

-- name: api.cursor_of
-- group: forms
-- description: The cursor of a row that stands in its list by a moment, then by a key.
CREATE OR REPLACE FUNCTION api.cursor_of(at timestamptz, key text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT (extract(epoch FROM at) * 1000000)::bigint::text || '.' || key $$;

-- name: api.cursor_number
-- group: forms
-- description: The number that a cursor begins with: microseconds since 1970, or a count. NULL for none.
CREATE OR REPLACE FUNCTION api.cursor_number(cursor text) RETURNS bigint LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
  IF cursor !~ '^-?[0-9]{1,18}\.([0-9a-f]*|[0-9]{1,18}:[a-z]+:[0-9a-f]*)$' THEN
    RAISE EXCEPTION 'not a cursor: %', left(cursor, 100) USING ERRCODE = 'invalid_parameter_value',
      HINT = 'pass next_cursor of the last row that you have, or NULL for the first page';
  END IF;
  RETURN split_part(cursor, '.', 1)::bigint;
END $$;

-- name: api.cursor_time
-- group: forms
-- description: The moment that a cursor begins with. NULL for none.
CREATE OR REPLACE FUNCTION api.cursor_time(cursor text) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT '1970-01-01 00:00:00+00'::timestamptz + api.cursor_number(cursor) * '1 microsecond'::interval $$;

-- name: api.cursor_hash
-- group: forms
-- description: The hash that a cursor ends with. NULL for none.
CREATE OR REPLACE FUNCTION api.cursor_hash(cursor text) RETURNS bytea LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
  IF cursor !~ '^-?[0-9]{1,18}\.([0-9a-f]{2})*$' THEN
    RAISE EXCEPTION 'not a cursor of casts: %', left(cursor, 100) USING ERRCODE = 'invalid_parameter_value',
      HINT = 'pass next_cursor of the last row that you have, or NULL for the first page';
  END IF;
  RETURN decode(split_part(cursor, '.', 2), 'hex');
END $$;

-- name: api.cursor_fid
-- group: forms
-- description: The FID that a cursor ends with. NULL for none.
CREATE OR REPLACE FUNCTION api.cursor_fid(cursor text) RETURNS bigint LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
  IF cursor !~ '^-?[0-9]{1,18}\.[0-9]{1,18}$' THEN
    RAISE EXCEPTION 'not a cursor of users: %', left(cursor, 100) USING ERRCODE = 'invalid_parameter_value',
      HINT = 'pass next_cursor of the last row that you have, or NULL for the first page';
  END IF;
  RETURN split_part(cursor, '.', 2)::bigint;
END $$;

-- name: api.blocks
-- group: forms
-- description: The users whom the viewer blocks or who block her, whose casts and names she is not shown; none without a
-- description: viewer.
-- example: SELECT api.blocks(viewer => 3);
CREATE OR REPLACE FUNCTION api.blocks(viewer bigint) RETURNS bigint[] LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT ARRAY(
    SELECT l.target_fid FROM public.links AS l
    WHERE l.fid = blocks.viewer AND l.type = 'block' AND l.deleted_at IS NULL
    UNION SELECT l.fid FROM public.links AS l
    WHERE l.target_fid = blocks.viewer AND l.type = 'block' AND l.deleted_at IS NULL)
$$;

-- name: api.cast_text
-- group: casts
-- description: The text of a cast with the @names of whom it mentions, which its message has apart: each is put at its
-- description: position, a byte offset in the UTF-8 text. Who shows no name is @!FID. A mention without a position, or with
-- description: one that is no place between two characters, is left out.
-- example: SELECT api.cast_text(text, mentions, mentions_positions) FROM casts WHERE deleted_at IS NULL AND mentions <> '{}' LIMIT 3;
CREATE OR REPLACE FUNCTION api.cast_text(text text, mentions bigint[], mentions_positions integer[]) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  WITH utf8 AS (SELECT convert_to(cast_text.text, 'UTF8') AS bytes),
  named AS (
    SELECT m.place, m.at, '@' || coalesce(p.username, '!' || m.fid) AS name
    FROM utf8 AS u CROSS JOIN unnest(mentions, mentions_positions) WITH ORDINALITY AS m (fid, at, place)
    LEFT JOIN LATERAL (SELECT q.username FROM public.user_profiles AS q
      WHERE q.fid = m.fid AND q.deleted_at IS NULL LIMIT 1) AS p ON true
    WHERE m.fid IS NOT NULL AND m.at BETWEEN 0 AND length(u.bytes)
      AND CASE WHEN m.at BETWEEN 0 AND length(u.bytes) - 1 THEN get_byte(u.bytes, m.at) & 192 <> 128 ELSE true END
  ),
  pieces AS (
    SELECT n.at, n.place, convert_to(n.name, 'UTF8') || substring(u.bytes FROM n.at + 1
      FOR lead(n.at, 1, length(u.bytes)) OVER (ORDER BY n.at, n.place) - n.at) AS bytes
    FROM named AS n CROSS JOIN utf8 AS u
  )
  SELECT convert_from(substring(u.bytes FROM 1 FOR coalesce((SELECT min(n.at) FROM named AS n), length(u.bytes)))
    || coalesce((SELECT string_agg(p.bytes, ''::bytea ORDER BY p.at, p.place) FROM pieces AS p), ''::bytea), 'UTF8')
  FROM utf8 AS u
$$;

-- name: neynar.base58_bytes
-- group: neynar
-- description: The bytes of a base58 text, such as the 32 of a Solana address; null for what is no base58.
-- example: SELECT * FROM neynar.verifications WHERE address = neynar.base58_bytes('11111111111111111111111111111112');
CREATE OR REPLACE FUNCTION neynar.base58_bytes(value text) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN left(value, 2) <> '0x' THEN pipeline.address_bytes(value) END;

-- name: neynar.casts
-- group: neynar
-- description: Neynar's table of casts, deleted ones included: one row per cast, with the root of its thread.
-- example: SELECT fid, text FROM neynar.casts
-- example: WHERE root_parent_url = 'https://warpcast.com/~/channel/music' AND deleted_at IS NULL
-- example: ORDER BY timestamp DESC LIMIT 20;
CREATE OR REPLACE VIEW neynar.casts AS
SELECT
  md5('cast:' || encode(c.hash, 'hex') || ':' || c.fid::text)::uuid AS id,
  timezone('UTC', c."timestamp") AS created_at,
  timezone('UTC', c.updated_at) AS updated_at,
  timezone('UTC', c.deleted_at) AS deleted_at,
  timezone('UTC', c."timestamp") AS "timestamp",
  c.fid, c.hash, c.text, c.parent_hash, c.parent_fid, c.parent_url,
  t.root_hash AS root_parent_hash,
  t.root_url AS root_parent_url,
  CASE WHEN c.embeds = '[]' AND c.embeds_deprecated IS NOT NULL THEN c.embeds_deprecated
    WHEN jsonb_typeof(c.embeds) = 'array' THEN ARRAY(
      SELECT e.value->>'url' FROM jsonb_array_elements(c.embeds) WITH ORDINALITY AS e (value, place)
      WHERE e.value->>'url' IS NOT NULL ORDER BY e.place) END AS embedded_urls,
  CASE WHEN jsonb_typeof(c.embeds) = 'array' THEN ARRAY(
    SELECT decode(substr(e.value->'castId'->>'hash', 3), 'hex')
    FROM jsonb_array_elements(c.embeds) WITH ORDINALITY AS e (value, place)
    WHERE e.value->'castId'->>'hash' ~ '^0x([0-9a-fA-F]{2})+$' ORDER BY e.place) END AS embedded_casts,
  c.mentions,
  CASE WHEN 32767 >= ALL (c.mentions_positions) THEN c.mentions_positions::smallint[] END AS mentions_positions,
  NULL::text[] AS ticker_mentions,
  NULL::smallint[] AS ticker_mentions_positions,
  NULL::text[] AS channel_mentions,
  NULL::smallint[] AS channel_mentions_positions,
  CASE WHEN jsonb_typeof(c.embeds) = 'array' THEN ARRAY(
    SELECT CASE WHEN e.value->'castId'->>'fid' ~ '^[0-9]{1,18}$' THEN (e.value->'castId'->>'fid')::bigint END
    FROM jsonb_array_elements(c.embeds) WITH ORDINALITY AS e (value, place)
    WHERE e.value->'castId'->>'hash' ~ '^0x([0-9a-fA-F]{2})+$' ORDER BY e.place) END AS embedded_casts_fids,
  CASE WHEN c.embeds = '[]' AND c.embeds_deprecated IS NOT NULL THEN (
    SELECT jsonb_agg(jsonb_build_object('url', d.url) ORDER BY d.place)
    FROM unnest(c.embeds_deprecated) WITH ORDINALITY AS d (url, place)) ELSE c.embeds END AS embeds,
  c.app_fid AS creator_app_fid,
  NULL::bigint AS deleter_app_fid
FROM public.casts AS c LEFT JOIN public.cast_threads AS t ON t.hash = c.hash;

-- name: neynar.reactions
-- group: neynar
-- description: Neynar's table of likes (reaction_type 1) and recasts (2): one row per user, type and target.
-- example: SELECT reaction_type, count(*) FROM neynar.reactions
-- example: WHERE target_hash = '\xbab8da9fed7545b88c03e44cf7daf16ec71b9275' AND deleted_at IS NULL GROUP BY 1;
CREATE OR REPLACE VIEW neynar.reactions AS
SELECT
  md5('reaction:' || r.fid::text || ':' || r.type || ':' || encode(r.target, 'hex'))::uuid AS id,
  timezone('UTC', r."timestamp") AS created_at,
  timezone('UTC', r.updated_at) AS updated_at,
  timezone('UTC', r.deleted_at) AS deleted_at,
  timezone('UTC', r."timestamp") AS "timestamp",
  (CASE r.type WHEN 'like' THEN 1 WHEN 'recast' THEN 2 END)::smallint AS reaction_type,
  r.fid, r.target_hash, r.target_fid, r.target_url,
  r.app_fid AS creator_app_fid,
  NULL::bigint AS deleter_app_fid
FROM public.reactions AS r;

-- name: neynar.follows
-- group: neynar
-- description: Neynar's table of follows: one row per pair of users; links of other types are left out.
-- example: SELECT target_fid FROM neynar.follows WHERE fid = 3 AND deleted_at IS NULL ORDER BY timestamp DESC LIMIT 20;
CREATE OR REPLACE VIEW neynar.follows AS
SELECT
  md5('follow:' || l.fid::text || ':' || l.target_fid::text)::uuid AS id,
  timezone('UTC', l."timestamp") AS created_at,
  timezone('UTC', l.updated_at) AS updated_at,
  timezone('UTC', l.deleted_at) AS deleted_at,
  timezone('UTC', l."timestamp") AS "timestamp",
  l.fid, l.target_fid,
  timezone('UTC', l.display_timestamp) AS display_timestamp,
  l.app_fid AS creator_app_fid,
  NULL::bigint AS deleter_app_fid
FROM public.links AS l WHERE l.type = 'follow';

-- name: neynar.verifications
-- group: neynar
-- description: Neynar's table of verified addresses, as bytes; protocol 0 is Ethereum, 1 Solana.
-- example: SELECT fid, protocol, encode(address, 'hex') AS address FROM neynar.verifications
-- example: WHERE deleted_at IS NULL ORDER BY timestamp DESC LIMIT 20;
CREATE OR REPLACE VIEW neynar.verifications AS
SELECT
  md5('verification:' || v.fid::text || ':' || v.address)::uuid AS id,
  timezone('UTC', v."timestamp") AS created_at,
  timezone('UTC', v.updated_at) AS updated_at,
  timezone('UTC', v.deleted_at) AS deleted_at,
  timezone('UTC', v."timestamp") AS "timestamp",
  pipeline.address_bytes(v.address) AS address,
  v.fid,
  (CASE WHEN left(v.address, 2) = '0x' THEN 0 ELSE 1 END)::smallint AS protocol,
  v.app_fid
FROM public.verifications AS v;

-- name: neynar.profiles
-- group: neynar
-- description: Neynar's table of profiles: one row per FID. A field that was cleared is null.
-- example: SELECT fid, username, display_name, bio FROM neynar.profiles WHERE username = 'alice';
CREATE OR REPLACE VIEW neynar.profiles AS
SELECT
  md5('profile:' || p.fid::text)::uuid AS id,
  timezone('UTC', p.registered_at) AS created_at,
  timezone('UTC', p.changed_at) AS updated_at,
  timezone('UTC', p.deleted_at) AS deleted_at,
  p.fid, p.bio, p.pfp_url, p.url, p.username, p.display_name, p.location,
  CASE WHEN p.location ~ '^geo:-?[0-9]{1,3}([.][0-9]{1,10})?,-?[0-9]{1,3}([.][0-9]{1,10})?$'
    THEN split_part(substr(p.location, 5), ',', 1)::real END AS latitude,
  CASE WHEN p.location ~ '^geo:-?[0-9]{1,3}([.][0-9]{1,10})?,-?[0-9]{1,3}([.][0-9]{1,10})?$'
    THEN split_part(substr(p.location, 5), ',', 2)::real END AS longitude,
  (SELECT pipeline.address_bytes(lower(nullif(d.value, ''))) FROM public.user_data AS d
    WHERE d.fid = p.fid AND d.type = 'primary_address_ethereum' AND d.deleted_at IS NULL) AS primary_eth_address,
  (SELECT pipeline.address_bytes(nullif(d.value, '')) FROM public.user_data AS d
    WHERE d.fid = p.fid AND d.type = 'primary_address_solana' AND d.deleted_at IS NULL) AS primary_sol_address,
  p.banner_url,
  (SELECT nullif(d.value, '') FROM public.user_data AS d
    WHERE d.fid = p.fid AND d.type = 'profile_token' AND d.deleted_at IS NULL) AS token_uri
FROM public.user_profiles AS p;

-- name: neynar.profiles_with_verifications
-- group: neynar
-- description: Neynar's view of profiles with their live verifications, the newest first; null where there are none.
-- example: SELECT profile_username, verifications FROM neynar.profiles_with_verifications WHERE profile_fid = 3;
CREATE OR REPLACE VIEW neynar.profiles_with_verifications AS
SELECT
  p.id AS profile_id,
  p.created_at AS profile_created_at,
  p.updated_at AS profile_updated_at,
  p.deleted_at AS profile_deleted_at,
  p.fid AS profile_fid,
  p.bio, p.pfp_url, p.url,
  p.username AS profile_username,
  p.display_name, p.location, p.latitude, p.longitude,
  (SELECT jsonb_agg(jsonb_build_object(
      'timestamp', v."timestamp", 'address', '0x' || encode(v.address, 'hex'), 'protocol', v.protocol)
      ORDER BY v."timestamp" DESC, v.address)
    FROM neynar.verifications AS v WHERE v.fid = p.fid AND v.deleted_at IS NULL) AS verifications
FROM neynar.profiles AS p;

-- name: neynar.usernames
-- group: neynar
-- description: Neynar's table of proved names: one row per name, of type 1 (fname), 2 (ENS) or 3 (Basename).
-- example: SELECT username, type FROM neynar.usernames WHERE fid = 3 AND deleted_at IS NULL;
CREATE OR REPLACE VIEW neynar.usernames AS
SELECT
  md5('username:' || n.type || ':' || n.name)::uuid AS id,
  timezone('UTC', n."timestamp") AS created_at,
  timezone('UTC', n.updated_at) AS updated_at,
  timezone('UTC', n.deleted_at) AS deleted_at,
  n.name AS username,
  pipeline.integer_of(n.fid) AS fid,
  pipeline.address_bytes(n.owner) AS custody_address,
  timezone('UTC', n."timestamp") AS proof_timestamp,
  (CASE n.type WHEN 'fname' THEN 1 WHEN 'ens' THEN 2 WHEN 'basename' THEN 3 END)::smallint AS type
FROM public.username_proofs AS n;

-- name: neynar.fids
-- group: neynar
-- description: Neynar's table of FIDs: who holds each, who may recover it, and when it was registered.
-- example: SELECT fid, encode(custody_address, 'hex') AS custody_address, registered_at FROM neynar.fids WHERE fid = 3;
CREATE OR REPLACE VIEW neynar.fids AS
SELECT
  md5('fid:' || p.fid::text)::uuid AS id,
  timezone('UTC', p.registered_at) AS created_at,
  timezone('UTC', p.changed_at) AS updated_at,
  pipeline.integer_of(p.fid) AS fid,
  pipeline.address_bytes(p.custody_address) AS custody_address,
  (SELECT timezone('UTC', max(e.block_timestamp)) FROM public.on_chain_events AS e
    WHERE e.fid = p.fid AND e.type = 'id_register' AND e.deleted_at IS NULL) AS "timestamp",
  (SELECT pipeline.address_bytes(lower(e.body->>'recoveryAddress')) FROM public.on_chain_events AS e
    WHERE e.fid = p.fid AND e.type = 'id_register' AND e.deleted_at IS NULL
    AND e.body->>'eventType' IN ('Register', 'ChangeRecovery',
      'ID_REGISTER_EVENT_TYPE_REGISTER', 'ID_REGISTER_EVENT_TYPE_CHANGE_RECOVERY')
    ORDER BY e.block_number DESC, e.log_index DESC LIMIT 1) AS recovery_address,
  timezone('UTC', p.registered_at) AS registered_at
FROM public.user_profiles AS p WHERE p.custody_address IS NOT NULL;

-- name: neynar.signers
-- group: neynar
-- description: Neynar's table of keys that sign for an FID, gasless ones included; a removed one is deleted.
-- example: SELECT app_fid, count(*) FROM neynar.signers WHERE deleted_at IS NULL GROUP BY 1 ORDER BY 2 DESC LIMIT 20;
CREATE OR REPLACE VIEW neynar.signers AS
SELECT
  md5('signer:' || s.fid::text || ':' || encode(s.key, 'hex'))::uuid AS id,
  timezone('UTC', s.added_at) AS created_at,
  timezone('UTC', s.updated_at) AS updated_at,
  timezone('UTC', s.removed_at) AS deleted_at,
  timezone('UTC', s.added_at) AS "timestamp",
  s.fid, s.app_fid, s.key AS signer
FROM public.signers AS s WHERE s.key_type IS DISTINCT FROM 2 AND s.deleted_at IS NULL;

-- name: neynar.storage_rentals
-- group: neynar
-- description: Neynar's table of storage that was rented; expiry is by the network's rule.
-- example: SELECT units, expiry FROM neynar.storage_rentals WHERE fid = 3 ORDER BY expiry DESC;
CREATE OR REPLACE VIEW neynar.storage_rentals AS
SELECT
  md5('storage_rental:' || r.chain_id::text || ':' || encode(r.transaction_hash, 'hex') || ':' || r.log_index::text)
    ::uuid AS id,
  timezone('UTC', r.rented_at) AS created_at,
  timezone('UTC', r.updated_at) AS updated_at,
  pipeline.integer_of(r.fid) AS fid,
  pipeline.integer_of(r.units) AS units,
  timezone('UTC', r.expires_at) AS expiry,
  timezone('UTC', r.rented_at) AS "timestamp",
  r.transaction_hash,
  pipeline.integer_of(r.log_index) AS log_index
FROM public.storage_rents AS r WHERE r.deleted_at IS NULL;

-- name: neynar.tier_purchases
-- group: neynar
-- description: Neynar's table of purchases of a tier; tier_type 1 is Pro.
-- example: SELECT timestamp, duration_in_days FROM neynar.tier_purchases WHERE fid = 3 ORDER BY timestamp;
CREATE OR REPLACE VIEW neynar.tier_purchases AS
SELECT
  md5('tier_purchase:' || p.chain_id::text || ':' || encode(p.transaction_hash, 'hex') || ':' || p.log_index::text)
    ::uuid AS id,
  timezone('UTC', p.purchased_at) AS created_at,
  timezone('UTC', p.updated_at) AS updated_at,
  p.fid,
  CASE p.tier_type WHEN 'None' THEN 0 WHEN 'Pro' THEN 1 END AS tier_type,
  p.for_days AS duration_in_days,
  pipeline.address_bytes(lower(p.payer)) AS payer,
  timezone('UTC', p.purchased_at) AS "timestamp",
  p.transaction_hash,
  pipeline.integer_of(p.log_index) AS log_index
FROM public.tier_purchases AS p WHERE p.deleted_at IS NULL;

-- name: neynar.follow_counts
-- group: neynar
-- description: Neynar's table of followers and followings by user; their filtered counts and times have no source.
-- example: SELECT follower_count, following_count FROM neynar.follow_counts WHERE fid = 3;
CREATE OR REPLACE VIEW neynar.follow_counts AS
SELECT
  md5('follow_counts:' || u.fid::text)::uuid AS id,
  u.fid,
  NULL::timestamp AS created_at,
  NULL::timestamp AS updated_at,
  u.followers AS follower_count,
  u.following AS following_count,
  NULL::bigint AS filtered_follower_count,
  NULL::bigint AS filtered_following_count
FROM public.user_counts AS u;

-- name: neynar.channels
-- group: neynar
-- description: Neynar's table of channels, of those that protocol V21 registers.
-- example: SELECT channel_id, name, lead_fid FROM neynar.channels WHERE deleted_at IS NULL LIMIT 20;
CREATE OR REPLACE VIEW neynar.channels AS
SELECT
  md5('channel:' || encode(c.channel_id, 'hex'))::uuid AS id,
  timezone('UTC', c.registered_at) AS created_at,
  timezone('UTC', c.updated_at) AS updated_at,
  timezone('UTC', c.deleted_at) AS deleted_at,
  c.channel_key AS channel_id,
  NULL::text AS url,
  c.description, c.image_url,
  c.fid AS lead_fid,
  ARRAY(SELECT m.fid FROM public.channel_members AS m
    WHERE m.channel_id = c.channel_id AND m.state = 'moderator' AND m.deleted_at IS NULL ORDER BY m.fid)
    AS moderator_fids,
  (SELECT count(*) FROM public.channel_follows AS f
    WHERE f.channel_id = c.channel_id AND f.deleted_at IS NULL)::integer AS follower_count,
  timezone('UTC', c.registered_at) AS "timestamp",
  c.name,
  NULL::bigint[] AS description_mentions,
  NULL::integer[] AS description_mentions_positions,
  (SELECT count(*) FROM public.channel_members AS m WHERE m.channel_id = c.channel_id
    AND m.state IN ('member', 'moderator') AND m.deleted_at IS NULL)::integer AS member_count,
  NULL::boolean AS public_casting,
  NULL::text AS external_link_title,
  NULL::text AS external_link_url,
  c.header AS header_image_url,
  (SELECT p.cast_hash FROM public.channel_pins AS p
    WHERE p.channel_id = c.channel_id AND p.deleted_at IS NULL) AS pinned_cast_hash
FROM public.channels AS c;

-- name: neynar.channel_follows
-- group: neynar
-- description: Neynar's table of who follows which channel, of those that protocol V21 registers.
-- example: SELECT channel_id, count(*) FROM neynar.channel_follows WHERE deleted_at IS NULL GROUP BY 1;
CREATE OR REPLACE VIEW neynar.channel_follows AS
SELECT
  md5('channel_follow:' || f.fid::text || ':' || encode(f.channel_id, 'hex'))::uuid AS id,
  timezone('UTC', f.followed_at) AS created_at,
  timezone('UTC', f.updated_at) AS updated_at,
  timezone('UTC', f.deleted_at) AS deleted_at,
  f.fid,
  c.channel_key AS channel_id,
  timezone('UTC', f.followed_at) AS "timestamp"
FROM public.channel_follows AS f JOIN public.channels AS c ON c.channel_id = f.channel_id;

-- name: neynar.channel_members
-- group: neynar
-- description: Neynar's table of members of channels, of those that protocol V21 registers; removed and banned ones are
-- description: deleted.
-- example: SELECT channel_id, fid FROM neynar.channel_members WHERE deleted_at IS NULL LIMIT 20;
CREATE OR REPLACE VIEW neynar.channel_members AS
SELECT
  md5('channel_member:' || m.fid::text || ':' || encode(m.channel_id, 'hex'))::uuid AS id,
  timezone('UTC', m."timestamp") AS created_at,
  timezone('UTC', m.updated_at) AS updated_at,
  timezone('UTC', CASE WHEN m.state IN ('member', 'moderator') THEN m.deleted_at
    ELSE coalesce(m.deleted_at, m."timestamp") END) AS deleted_at,
  m.fid,
  c.channel_key AS channel_id,
  timezone('UTC', m."timestamp") AS member_at,
  NULL::smallint AS role
FROM public.channel_members AS m JOIN public.channels AS c ON c.channel_id = m.channel_id;

-- name: neynar.neynar_user_scores
-- group: neynar
-- description: Neynar's scores of users: always empty, for no message says them.
CREATE OR REPLACE VIEW neynar.neynar_user_scores AS
SELECT NULL::uuid AS id, NULL::timestamp AS created_at, NULL::timestamp AS updated_at, NULL::timestamp AS deleted_at,
  NULL::bigint AS fid, NULL::real AS score
WHERE false;

-- name: neynar.user_labels
-- group: neynar
-- description: Labels that others give to users: always empty, for no message says them.
CREATE OR REPLACE VIEW neynar.user_labels AS
SELECT NULL::uuid AS id, NULL::timestamp AS created_at, NULL::timestamp AS updated_at, NULL::timestamp AS deleted_at,
  NULL::text AS source, NULL::bigint AS provider_fid, NULL::bigint AS target_fid, NULL::text AS label_type,
  NULL::text AS label_value, NULL::timestamp AS "timestamp"
WHERE false;

-- name: neynar.blocks
-- group: neynar
-- description: Who blocks whom in Neynar's clients: always empty, for no message says it.
CREATE OR REPLACE VIEW neynar.blocks AS
SELECT NULL::uuid AS id, NULL::timestamp AS created_at, NULL::timestamp AS updated_at, NULL::timestamp AS deleted_at,
  NULL::timestamp AS "timestamp", NULL::bigint AS blocker_fid, NULL::bigint AS blocked_fid
WHERE false;

-- name: neynar.profile_external_accounts
-- group: neynar
-- description: Accounts elsewhere that an app attests: always empty, for no message says them.
CREATE OR REPLACE VIEW neynar.profile_external_accounts AS
SELECT NULL::uuid AS id, NULL::timestamp AS created_at, NULL::timestamp AS updated_at, NULL::timestamp AS deleted_at,
  NULL::timestamp AS "timestamp", NULL::bigint AS fid, NULL::bigint AS app_fid, NULL::smallint AS type,
  NULL::text AS account
WHERE false;

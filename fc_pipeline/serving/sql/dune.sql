-- name: dune.dataset_farcaster_casts
-- group: dune
-- description: Dune's table of casts, deleted ones included; created_at is the message's time.
-- example: SELECT coalesce(root_parent_url, parent_url) AS channel, count(*) FROM dune.dataset_farcaster_casts
-- example: WHERE deleted_at IS NULL AND created_at > now() - interval '7 days' GROUP BY 1 ORDER BY 2 DESC LIMIT 20;
CREATE OR REPLACE VIEW dune.dataset_farcaster_casts AS
SELECT
  ('x' || left(md5('cast:' || encode(c.hash, 'hex') || ':' || c.fid::text), 16))
    ::bit(64)::bigint & 9223372036854775807 AS id,
  timezone('UTC', c."timestamp") AS created_at,
  timezone('UTC', c.updated_at) AS updated_at,
  timezone('UTC', c.deleted_at) AS deleted_at,
  timezone('UTC', c."timestamp") AS "timestamp",
  c.fid, c.hash, c.parent_hash, c.parent_fid, c.parent_url, c.text,
  CASE WHEN c.embeds = '[]' AND c.embeds_deprecated IS NOT NULL THEN (
    SELECT jsonb_agg(jsonb_build_object('url', d.url) ORDER BY d.place)
    FROM unnest(c.embeds_deprecated) WITH ORDINALITY AS d (url, place)) ELSE c.embeds END AS embeds,
  c.mentions, c.mentions_positions,
  t.root_hash AS root_parent_hash,
  t.root_url AS root_parent_url
FROM public.casts AS c LEFT JOIN public.cast_threads AS t ON t.hash = c.hash;

-- name: dune.dataset_farcaster_reactions
-- group: dune
-- description: Dune's table of likes (reaction_type 1) and recasts (2): one row per user, type and target.
-- example: SELECT target_fid, count(*) FROM dune.dataset_farcaster_reactions
-- example: WHERE deleted_at IS NULL AND reaction_type = 1 AND created_at > now() - interval '1 day'
-- example: GROUP BY 1 ORDER BY 2 DESC LIMIT 20;
CREATE OR REPLACE VIEW dune.dataset_farcaster_reactions AS
SELECT
  ('x' || left(md5('reaction:' || r.fid::text || ':' || r.type || ':' || encode(r.target, 'hex')), 16))
    ::bit(64)::bigint & 9223372036854775807 AS id,
  timezone('UTC', r."timestamp") AS created_at,
  timezone('UTC', r.updated_at) AS updated_at,
  timezone('UTC', r.deleted_at) AS deleted_at,
  timezone('UTC', r."timestamp") AS "timestamp",
  r.fid,
  (CASE r.type WHEN 'like' THEN 1 WHEN 'recast' THEN 2 END)::smallint AS reaction_type,
  r.hash, r.target_hash, r.target_fid, r.target_url
FROM public.reactions AS r;

-- name: dune.dataset_farcaster_links
-- group: dune
-- description: Dune's table of follows: one row per pair of users.
-- example: SELECT count(*) FROM dune.dataset_farcaster_links WHERE target_fid = 3 AND deleted_at IS NULL;
CREATE OR REPLACE VIEW dune.dataset_farcaster_links AS
SELECT
  ('x' || left(md5('follow:' || l.fid::text || ':' || l.target_fid::text), 16))
    ::bit(64)::bigint & 9223372036854775807 AS id,
  timezone('UTC', l."timestamp") AS created_at,
  timezone('UTC', l.updated_at) AS updated_at,
  timezone('UTC', l.deleted_at) AS deleted_at,
  timezone('UTC', l."timestamp") AS "timestamp",
  l.fid, l.target_fid, l.hash, l.type,
  timezone('UTC', l.display_timestamp) AS display_timestamp
FROM public.links AS l WHERE l.type = 'follow';

-- name: dune.dataset_farcaster_verifications
-- group: dune
-- description: Dune's table of verified addresses, with the claim as JSON.
-- example: SELECT fid, claim->>'address' AS address FROM dune.dataset_farcaster_verifications
-- example: WHERE deleted_at IS NULL ORDER BY timestamp DESC LIMIT 20;
CREATE OR REPLACE VIEW dune.dataset_farcaster_verifications AS
SELECT
  ('x' || left(md5('verification:' || v.fid::text || ':' || v.address), 16))
    ::bit(64)::bigint & 9223372036854775807 AS id,
  timezone('UTC', v."timestamp") AS created_at,
  timezone('UTC', v.updated_at) AS updated_at,
  timezone('UTC', v.deleted_at) AS deleted_at,
  timezone('UTC', v."timestamp") AS "timestamp",
  v.fid, v.hash,
  jsonb_strip_nulls(jsonb_build_object('address', v.address, 'blockHash', v.block_hash,
    'ethSignature', '0x' || encode(v.claim_signature, 'hex'))) AS claim
FROM public.verifications AS v;

-- name: dune.dataset_farcaster_user_data
-- group: dune
-- description: Dune's table of profile fields by user and type (1 picture, 2 display name, 3 bio, 5 url, 6 username,
-- description: and so on).
-- example: SELECT fid, value FROM dune.dataset_farcaster_user_data WHERE fid = 3 AND type = 6 AND deleted_at IS NULL;
CREATE OR REPLACE VIEW dune.dataset_farcaster_user_data AS
SELECT
  ('x' || left(md5('user_data:' || d.fid::text || ':' || d.type), 16))::bit(64)::bigint & 9223372036854775807 AS id,
  timezone('UTC', d."timestamp") AS created_at,
  timezone('UTC', d.updated_at) AS updated_at,
  timezone('UTC', d.deleted_at) AS deleted_at,
  timezone('UTC', d."timestamp") AS "timestamp",
  d.fid, d.hash,
  (CASE d.type WHEN 'pfp' THEN 1 WHEN 'display' THEN 2 WHEN 'bio' THEN 3 WHEN 'url' THEN 5 WHEN 'username' THEN 6
    WHEN 'location' THEN 7 WHEN 'twitter' THEN 8 WHEN 'github' THEN 9 WHEN 'banner' THEN 10
    WHEN 'primary_address_ethereum' THEN 11 WHEN 'primary_address_solana' THEN 12 WHEN 'profile_token' THEN 13
    WHEN 'live_at' THEN 14 END)::smallint AS type,
  d.value
FROM public.user_data AS d;

-- name: dune.dataset_farcaster_fids
-- group: dune
-- description: Dune's table of FIDs: who holds each, and when it was registered.
-- example: SELECT date_trunc('month', registered_at) AS month, count(*) FROM dune.dataset_farcaster_fids
-- example: GROUP BY 1 ORDER BY 1;
CREATE OR REPLACE VIEW dune.dataset_farcaster_fids AS
SELECT
  p.fid,
  timezone('UTC', p.registered_at) AS created_at,
  timezone('UTC', p.changed_at) AS updated_at,
  pipeline.address_bytes(p.custody_address) AS custody_address,
  timezone('UTC', p.registered_at) AS registered_at
FROM public.user_profiles AS p WHERE p.custody_address IS NOT NULL;

-- name: dune.dataset_farcaster_fnames
-- group: dune
-- description: Dune's table of fnames and their holders.
-- example: SELECT fid FROM dune.dataset_farcaster_fnames WHERE fname = 'alice' AND deleted_at IS NULL;
CREATE OR REPLACE VIEW dune.dataset_farcaster_fnames AS
SELECT
  n.name AS fname,
  timezone('UTC', n."timestamp") AS created_at,
  timezone('UTC', n.updated_at) AS updated_at,
  timezone('UTC', n.deleted_at) AS deleted_at,
  pipeline.address_bytes(n.owner) AS custody_address,
  n.fid,
  NULL::timestamp AS expires_at,
  timezone('UTC', n."timestamp") AS "timestamp"
FROM public.username_proofs AS n WHERE n.type = 'fname';

-- name: dune.dataset_farcaster_signers
-- group: dune
-- description: Dune's table of keys that sign for an FID, gasless ones included.
-- example: SELECT app_fid, count(DISTINCT fid) FROM dune.dataset_farcaster_signers
-- example: WHERE deleted_at IS NULL GROUP BY 1 ORDER BY 2 DESC LIMIT 20;
CREATE OR REPLACE VIEW dune.dataset_farcaster_signers AS
SELECT
  ('x' || left(md5('signer:' || s.fid::text || ':' || encode(s.key, 'hex')), 16))
    ::bit(64)::bigint & 9223372036854775807 AS id,
  timezone('UTC', s.added_at) AS created_at,
  timezone('UTC', s.updated_at) AS updated_at,
  timezone('UTC', s.removed_at) AS deleted_at,
  timezone('UTC', s.added_at) AS "timestamp",
  s.fid, s.key AS signer,
  NULL::text AS name,
  s.app_fid,
  NULL::bytea AS hash
FROM public.signers AS s WHERE s.key_type IS DISTINCT FROM 2 AND s.deleted_at IS NULL;

-- name: dune.dataset_farcaster_storage
-- group: dune
-- description: Dune's table of storage that was rented; expiry is by the network's rule.
-- example: SELECT units, expiry FROM dune.dataset_farcaster_storage WHERE fid = 3 ORDER BY expiry DESC;
CREATE OR REPLACE VIEW dune.dataset_farcaster_storage AS
SELECT
  ('x' || left(md5('storage:' || r.chain_id::text || ':' || encode(r.transaction_hash, 'hex') || ':'
    || r.log_index::text), 16))::bit(64)::bigint & 9223372036854775807 AS id,
  timezone('UTC', r.rented_at) AS created_at,
  timezone('UTC', r.updated_at) AS updated_at,
  timezone('UTC', r.deleted_at) AS deleted_at,
  timezone('UTC', r.rented_at) AS "timestamp",
  r.fid, r.units,
  timezone('UTC', r.expires_at) AS expiry
FROM public.storage_rents AS r;

-- name: dune.dataset_farcaster_profile_with_addresses
-- group: dune
-- description: Dune's view of profiles: name, picture, bio and verified Ethereum addresses, one row per FID.
-- example: SELECT fid, display_name, verified_addresses FROM dune.dataset_farcaster_profile_with_addresses
-- example: WHERE fname = 'alice';
CREATE OR REPLACE VIEW dune.dataset_farcaster_profile_with_addresses AS
SELECT
  p.fid,
  p.username AS fname,
  p.display_name,
  p.pfp_url AS avatar_url,
  p.bio,
  (SELECT coalesce(jsonb_agg(v.address ORDER BY v."timestamp", v.address), '[]') FROM public.verifications AS v
    WHERE v.fid = p.fid AND v.protocol = 'ethereum' AND v.deleted_at IS NULL) AS verified_addresses,
  timezone('UTC', p.changed_at) AS updated_at
FROM public.user_profiles AS p WHERE p.deleted_at IS NULL;

-- name: dune.dataset_farcaster_warpcast_power_users
-- group: dune
-- description: Users that a client counts as powerful: always empty, for no message says it.
CREATE OR REPLACE VIEW dune.dataset_farcaster_warpcast_power_users AS
SELECT NULL::timestamp AS created_at, NULL::timestamp AS updated_at, NULL::timestamp AS deleted_at, NULL::bigint AS fid
WHERE false;

-- name: dune.dataset_farcaster_power_users
-- group: dune
-- description: Users that a client counts as powerful: always empty, for no message says it.
CREATE OR REPLACE VIEW dune.dataset_farcaster_power_users AS
SELECT NULL::timestamp AS created_at, NULL::timestamp AS updated_at, NULL::timestamp AS deleted_at, NULL::bigint AS fid
WHERE false;

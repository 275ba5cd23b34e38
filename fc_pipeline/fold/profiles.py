"""The SQL that derives profiles: one upsert per touched FID, from the rows of its sources as they stand."""

from fc_pipeline.tables.user_profiles import PROFILE_CHAIN_EVENT, USER_PROFILES

__all__ = ["DERIVED_PROFILES", "EMPTY_PROFILE_FIDS", "STAGE_PROFILE_FIDS", "UPSERT_PROFILES"]

STAGE_PROFILE_FIDS = "CREATE TEMPORARY TABLE IF NOT EXISTS stage_profile_fids (fid bigint) ON COMMIT DELETE ROWS"
EMPTY_PROFILE_FIDS = "DELETE FROM stage_profile_fids"

_FIELDS = {
    "username": "username",
    "display_name": "display",
    "bio": "bio",
    "pfp_url": "pfp",
    "url": "url",
    "location": "location",
    "twitter": "twitter",
    "github": "github",
    "banner_url": "banner",
    "set_eth_address": "primary_address_ethereum",
    "set_sol_address": "primary_address_solana",
}
# An empty value is a cleared field (hub-api 5.2).
_PIVOT = ", ".join(
    f"max(nullif(value, '')) FILTER (WHERE deleted_at IS NULL AND type = '{kind}') AS {name}"
    for name, kind in _FIELDS.items()
)
_FIRST_ADDRESS = (
    "(array_agg(address ORDER BY timestamp, address) FILTER (WHERE deleted_at IS NULL AND protocol = '{protocol}'))[1]"
)
_NAMES = ", ".join(USER_PROFILES.names)
_PLAIN = ", ".join(f"d.{name}" for name in _FIELDS if not name.startswith("set_"))
_UPDATED = [name for name in USER_PROFILES.names if name != "fid"]

DERIVED_PROFILES = f"""
  SELECT f.fid, {_PLAIN},
    coalesce(d.set_eth_address, v.eth_address) AS primary_eth_address,
    coalesce(d.set_sol_address, v.sol_address) AS primary_sol_address,
    c.custody_address, c.registered_at,
    greatest(d.updated_at, v.updated_at, c.updated_at) AS updated_at,
    greatest(d.version, v.version, c.version) AS version,
    CASE WHEN d.live OR v.live OR c.registered_at IS NOT NULL OR c.custody_address IS NOT NULL
      THEN NULL ELSE greatest(d.deleted_at, v.deleted_at) END AS deleted_at
  FROM stage_profile_fids AS f
  CROSS JOIN LATERAL (
    SELECT {_PIVOT}, max(timestamp) AS updated_at, max(version) AS version, max(deleted_at) AS deleted_at,
      bool_or(deleted_at IS NULL) AS live
    FROM public.user_data WHERE fid = f.fid) AS d
  CROSS JOIN LATERAL (
    SELECT {_FIRST_ADDRESS.format(protocol="ethereum")} AS eth_address,
      {_FIRST_ADDRESS.format(protocol="solana")} AS sol_address,
      max(timestamp) AS updated_at, max(version) AS version, max(deleted_at) AS deleted_at,
      bool_or(deleted_at IS NULL) AS live
    FROM public.verifications WHERE fid = f.fid) AS v
  CROSS JOIN LATERAL (
    SELECT (array_agg(body->>'to' ORDER BY block_number DESC, log_index DESC)
        FILTER (WHERE body->>'eventType' IN {"{transfers}"}))[1] AS custody_address,
      min(block_timestamp) FILTER (WHERE body->>'eventType' IN {"{registers}"}) AS registered_at,
      max(block_timestamp) AS updated_at, max(version) AS version
    FROM public.on_chain_events WHERE fid = f.fid AND type = '{PROFILE_CHAIN_EVENT}') AS c
  WHERE f.fid > 0 AND (d.version IS NOT NULL OR v.version IS NOT NULL OR c.version IS NOT NULL)
""".format(
    # Snapchain's spelling and Hubble's (hub-api T20).
    transfers="('Register', 'Transfer', 'ID_REGISTER_EVENT_TYPE_REGISTER', 'ID_REGISTER_EVENT_TYPE_TRANSFER')",
    registers="('Register', 'ID_REGISTER_EVENT_TYPE_REGISTER')",
)
"""The profiles of `stage_profile_fids` as their sources say, columns by name; none for an FID without any source."""

UPSERT_PROFILES = f"""
WITH derived AS ({DERIVED_PROFILES}),
merged AS (
  INSERT INTO public.user_profiles AS t ({_NAMES}) SELECT {_NAMES} FROM derived ORDER BY fid
  ON CONFLICT (fid) DO UPDATE SET {", ".join(f"{n} = excluded.{n}" for n in _UPDATED)}
  WHERE ({", ".join(f"t.{n}" for n in _UPDATED)}) IS DISTINCT FROM ({", ".join(f"excluded.{n}" for n in _UPDATED)})
  RETURNING t.xmax = 0 AS inserted, t.deleted_at IS NOT NULL AS dead)
SELECT count(*) FILTER (WHERE inserted) AS inserted, count(*) FILTER (WHERE NOT inserted AND NOT dead) AS updated,
  count(*) FILTER (WHERE NOT inserted AND dead) AS deleted FROM merged
"""
"""Derive the profiles of `stage_profile_fids`; one that comes out as it was is not written. Returns the counts."""

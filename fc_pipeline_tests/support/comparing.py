"""The filtered replica against the full one, by SQL on its rows; the rule is written apart from the product's."""

from collections.abc import Collection, Iterable

import sqlalchemy as sa

from fc_pipeline.backfill.run import Backfill
from fc_pipeline.repair.targets import TargetSync, sync_targets
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline_tests.support.workbench import Workbench

RULE = {
    "casts": "fid = ANY (:s) OR parent_fid = ANY (:s) OR mentions && CAST(:s AS bigint[])",
    "reactions": "fid = ANY (:s) OR target_fid = ANY (:s)",
    "links": "fid = ANY (:s) OR target_fid = ANY (:s)",
    "storage_lends": "fid = ANY (:s) OR to_fid = ANY (:s)",
    "on_chain_events": "fid = ANY (:s) OR type = 'channel_register'",
    # Nobody's in particular.
    **dict.fromkeys(("channel_settings", "channel_members", "channel_pins", "channel_moderations", "channels"), "true"),
}
BY_AUTHOR = "fid = ANY (:s)"
# What a by-FID answer does not tell, and when a tombstone or a profile's row was decided.
UNTOLD = {
    "username_proofs": {"hash", "precedence"},
    # A chain ends at a cast that is kept for no target.
    "cast_threads": {"root_hash", "root_fid", "root_url", "depth"},
}
OWNER_AMONG_TARGETS = """(
  SELECT v.fid FROM verifications AS v WHERE v.address = owner_address AND v.protocol = 'ethereum'
    AND v.deleted_at IS NULL AND v.fid = ANY (:s) ORDER BY v.timestamp DESC, v.hash DESC, v.fid LIMIT 1)"""
"""Whose a channel is where only targets are known (protocol-tables 3.2)."""

FOLLOWED = """
WITH client_roots AS (
  SELECT DISTINCT fid FROM on_chain_events WHERE type = 'signer' AND body->>'eventType' = 'SIGNER_EVENT_TYPE_ADD'
    AND ('x' || encode(substring(decode(body->>'metadata', 'base64') from 57 for 8), 'hex'))::bit(64)::bigint
      = ANY (CAST(:clients AS bigint[]))),
roots AS (SELECT unnest(CAST(:roots AS bigint[])) AS fid UNION SELECT fid FROM client_roots)
SELECT fid FROM roots UNION
SELECT l.target_fid FROM links AS l JOIN roots USING (fid) WHERE l.type = 'follow' AND l.deleted_at IS NULL
"""


def expected_targets(full: Workbench, roots: Iterable[int], clients: Iterable[int] = ()) -> list[int]:
    """The set as the full replica's rows define it."""
    return sorted(row[0] for row in full.rows(FOLLOWED, roots=list(roots), clients=list(clients)))


def targets_of(bench: Workbench) -> list[int]:
    return [row[0] for row in bench.rows("SELECT fid FROM pipeline.targets ORDER BY fid")]


def selected(
    bench: Workbench, targets: Collection[int], *, by_rule: bool, mentions: bool = True
) -> dict[str, set[str]]:
    """Live rows of every table; of the full replica those that the rule selects."""
    found: dict[str, set[str]] = {}
    for name in DATA_TABLES:
        rule = RULE.get(name, BY_AUTHOR)
        of_casts = RULE["casts"] if mentions else "fid = ANY (:s) OR parent_fid = ANY (:s)"
        if name == "casts":
            rule = of_casts
        elif name in ("embeds", "cast_mentions", "cast_threads"):
            rule = f"hash IN (SELECT hash FROM casts WHERE deleted_at IS NULL AND ({of_casts}))"
        found[name] = live_rows(bench, name, rule if by_rule else "true", targets, by_rule=by_rule)
    return found


def live_rows(bench: Workbench, table: str, rule: str, targets: Collection[int], *, by_rule: bool = False) -> set[str]:
    """The live rows for which the rule holds, without the columns of how they came.

    The keys of users who are no targets are not kept, so that nothing says by which app they signed. With `by_rule`, a
    channel's owner is who it would be among targets alone.
    """
    left_out = {"version", "block_time", "network_time", "deleted_at", "deleted_reason", *UNTOLD.get(table, ())}
    values_of = {} if table == "signers" else {"app_fid": "CASE WHEN fid = ANY (:s) THEN app_fid END"}
    if by_rule and table == "channels":
        values_of["fid"] = OWNER_AMONG_TARGETS
    columns = ", ".join(values_of.get(name, name) for name in DATA_TABLES[table].names if name not in left_out)
    used = ":s" in f"{columns} {rule}"
    values = {"s": list(targets)} if used else {}
    query = f"SELECT ({columns})::text AS row FROM {table} WHERE deleted_at IS NULL AND ({rule})"
    return {row.row for row in bench.rows(query, **values)}


def assert_same(filtered: Workbench, full: Workbench, targets: Collection[int], *, mentions: bool = True) -> None:
    """Exactly the rows that the rule selects, table by table."""
    expected = selected(full, targets, by_rule=True, mentions=mentions)
    assert all(expected.values()), {name for name, rows in expected.items() if not rows}
    actual = selected(filtered, targets, by_rule=False)
    for name in expected:
        missing, phantom = expected[name] - actual[name], actual[name] - expected[name]
        assert not missing, (name, "missing", len(missing), sorted(missing)[:3])
        assert not phantom, (name, "phantom", len(phantom), sorted(phantom)[:3])


def complete(bench: Workbench, run_id: str = "targets") -> TargetSync:
    """Fetch what new targets lack, as the sensor's run does."""
    return sync_targets(bench.replica, run_id, lambda scope: Backfill(bench.replica, run_id, scope))


def root_that_follows(full: Workbench, least: int = 5, most: int = 30) -> int:
    """A user who follows some others."""
    rows = full.rows(
        "SELECT fid, count(*) FROM links WHERE type = 'follow' AND deleted_at IS NULL GROUP BY fid "
        "HAVING count(*) BETWEEN :least AND :most ORDER BY count(*) DESC, fid LIMIT 1",
        least=least,
        most=most,
    )
    return rows[0][0]


def execute(bench: Workbench, statement: str) -> None:
    with bench.replica.engine.begin() as connection:
        connection.execute(sa.text(statement))

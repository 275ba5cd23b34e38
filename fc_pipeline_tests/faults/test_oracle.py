"""The oracle itself, once: against the sample hub's by-FID answers, a referee of the protocol, and bad tables."""

import json
from pathlib import Path

import pytest

from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.homes import shard_of
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline_tests.faults.accounts import Accounts
from fc_pipeline_tests.faults.oracle import Oracle
from fc_pipeline_tests.faults.oracle_rows import MESSAGE_TABLES, chain_row, place_of, proof_row
from fc_pipeline_tests.faults.verdict import assert_right, evaluate, summed
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.referee import Referee
from fc_pipeline_tests.support.small_hub import SmallHub
from fc_pipeline_tests.support.workbench import workbench


def generated(seed: int, start_unix: int) -> list[bytes]:
    return list(
        generate(
            seed,
            fids=60,
            events=6_000,
            events_per_second=40.0,
            start_unix=start_unix,
            huge_fids=True,
            unknown_types=True,
        )
    )


@pytest.fixture(scope="module", params=[1_793_491_200, 1_760_000_000], ids=["now", "before V19"])
def lines(request: pytest.FixtureRequest) -> list[bytes]:
    return generated(31, request.param)


def test_the_oracle_says_what_the_by_fid_answers_say(lines: list[bytes]) -> None:
    oracle, hub = Oracle(lines), SmallHub.of_log(lines)
    assert oracle.unlawful == []
    found: dict[str, set[object]] = {}
    for fids in hub.home.values():
        for fid in fids:
            for kind, records in hub.answers(fid).items():
                for record in records:
                    found.setdefault(kind, set()).add(_identity(kind, record))
    huge = {_identity("casts", e["mergeMessageBody"]["message"]) for e in _quarantined_merges(oracle)}
    for table in MESSAGE_TABLES:
        assert {row["hash"] for row in oracle.tables[table].values()} == found[table] - huge - {None}
    assert {(key, row["fid"]) for key, row in oracle.tables["username_proofs"].items()} == found["username_proofs"]
    asked_for = {key for key, row in oracle.tables["on_chain_events"].items() if row["type"] != "channel_register"}
    assert asked_for == found["on_chain_events"]


def _identity(kind: str, record: dict[str, object]) -> object:
    if kind == "username_proofs":
        key, _, row = proof_row(record, None)
        return key, row["fid"]
    if kind == "on_chain_events":
        return chain_row(record)[0]
    data = record["data"]
    assert isinstance(data, dict)
    return None if data["type"].endswith("_REMOVE") else str(record["hash"])[2:]


def _quarantined_merges(oracle: Oracle) -> list[dict[str, object]]:
    return [oracle.events[place] for place in oracle.quarantined if "mergeMessageBody" in oracle.events[place]]


def test_the_oracle_says_what_a_referee_of_the_protocol_holds(lines: list[bytes]) -> None:
    oracle, referee = Oracle(lines), Referee()
    for line in lines:
        referee.evaluate(line)
    held = [
        message
        for (name, fid, *shard), rows in referee.sets.items()
        for message in rows.values()
        if name != "verifications" or shard == [shard_of(fid, 2)]
    ]
    quarantined = {e["mergeMessageBody"]["message"]["hash"] for e in _quarantined_merges(oracle)}
    expected: dict[str, set[str]] = {}
    for message in held:
        if not message["data"]["type"].endswith("_REMOVE") and message["hash"] not in quarantined:
            place = place_of(message)
            if place is not None:
                expected.setdefault(place[0], set()).add(message["hash"][2:])
    for table, hashes in expected.items():
        assert {row["hash"] for row in oracle.tables[table].values()} == hashes
    assert len(expected) == 5


def test_each_of_the_four_numbers_tells_its_own_mistake(database: Database, tmp_path: Path) -> None:
    lines = generated(33, 1_793_491_200)
    oracle = Oracle(lines)
    with serving(log_from_lines(lines)) as url, workbench(database, tmp_path / "lake", url) as bench:
        bench.run()
        assert_right(evaluate(bench.tables, oracle))
        with bench.replica.engine.begin() as connection:
            for statement in (
                f"UPDATE casts SET deleted_at = now() WHERE {_one_of('casts', 'deleted_at IS NULL')}",
                f"UPDATE links SET version = version + 1 WHERE {_one_of('links', 'deleted_at IS NULL')}",
                "INSERT INTO user_data (fid, type, value, hash, version) VALUES (77777, 'bio', 'nobody', '\\x01', 1)",
                f"UPDATE fid_activity SET likes = likes * 2 WHERE {_one_of('fid_activity', 'likes > 0')}",
                "DELETE FROM reactions WHERE version = (SELECT min(version) FROM reactions)",
            ):
                connection.exec_driver_sql(statement)
        verdicts = evaluate(bench.tables, oracle)
        found = {name: verdict.numbers for name, verdict in verdicts.items() if any(verdict.numbers)}
        assert found.pop("reactions")[0] <= 1
        assert found == {
            "casts": (1, 0, 0, 0),
            "links": (0, 0, 1, 0),
            "user_data": (0, 0, 0, 1),
            "fid_activity": (0, 1, 0, 0),
        }
        assert summed(verdicts)[1:] == (1, 1, 1)
        accounts = Accounts(bench.tables, oracle)
        ids = [(event["shardIndex"], event["id"]) for event in map(json.loads, lines)]
        pages = [accounts.settle(shard, [event_id for of, event_id in ids if of == shard]) for shard in (1, 2)]
        assert sum(page.unaccounted for page in pages) >= 1
        assert sum(page.fetched for page in pages) == len(lines)


def _one_of(table: str, condition: str) -> str:
    return f"ctid = (SELECT min(ctid) FROM {table} WHERE {condition})"

"""Gasless keys read on demand: at a message that no key explains, and in a slow round; bounded in every way."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from fc_pipeline.errors import HubUntrusted
from fc_pipeline.repair.keys import KeyReads, is_anything_due, read_due_keys
from fc_pipeline.sample_hub import app
from fc_pipeline.sample_hub.faults import Faults
from fc_pipeline.sample_hub.gasless_keys import GaslessKey
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.hub import SampleHub
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving_hub
from fc_pipeline.tables.registry import ATTRIBUTED_TABLES
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import Workbench, workbench

FIDS = 60


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return list(generate(7, fids=FIDS, events=4_000, events_per_second=40.0, gasless_keys=True))


@dataclass(frozen=True)
class Scene:
    """A replica that has folded the whole feed of a hub."""

    bench: Workbench
    hub: SampleHub

    def read(self, **options: Any) -> KeyReads:
        return read_due_keys(self.bench.replica, "keys", **options)

    def is_due(self) -> bool:
        return is_anything_due(self.bench.replica)

    def execute(self, statement: str) -> None:
        with self.bench.replica.engine.begin() as connection:
            connection.execute(sa.text(statement))

    def listed(self) -> set[tuple[int, str, int]]:
        """FID, key and app of what the hub lists."""
        keys = self.hub.state.keys
        return {(fid, one.key, one.request_fid) for fid in range(1, FIDS + 1) for one in keys.of_fid(fid)}

    def rows(self, where: str = "removed_at IS NULL") -> set[tuple[int, str, int]]:
        found = self.bench.rows(
            f"SELECT fid, '0x' || encode(key, 'hex') AS key, app_fid FROM signers WHERE kind = 'gasless' AND {where}"
        )
        return {tuple(row) for row in found}

    def unexplained(self) -> list[tuple[int, int]]:
        return [tuple(r) for r in self.bench.rows("SELECT fid, attempts FROM pipeline.unexplained_keys ORDER BY 1")]


@pytest.fixture
def scene(database: Database, lake: Path, lines: list[bytes]) -> Iterator[Scene]:
    hub = SampleHub(log_from_lines(lines), faults=Faults())
    with serving_hub(hub) as url, workbench(database, lake, url) as bench:
        bench.run()
        yield Scene(bench, hub)


def test_rows_between_the_heights_that_were_folded_are_not_looked_at(scene: Scene) -> None:
    """The shards are at different heights, and what lies between them was folded long ago."""
    assert scene.is_due()
    all_keys = len(scene.unexplained())
    scene.execute("DELETE FROM pipeline.unexplained_keys")
    scene.execute("UPDATE pipeline.coverage SET to_height = from_height + 20")
    assert scene.is_due()
    assert 0 < len(scene.unexplained()) < all_keys
    signed = " UNION ALL ".join(f"SELECT fid, signer, version FROM {table.name}" for table in ATTRIBUTED_TABLES)
    stray = (
        f"SELECT u.fid FROM pipeline.unexplained_keys AS u WHERE NOT EXISTS (SELECT FROM ({signed}) AS m "
        "JOIN pipeline.coverage AS c ON m.version >> 14 BETWEEN c.from_height AND c.to_height "
        "WHERE m.fid = u.fid AND m.signer = u.key)"
    )
    assert scene.bench.rows(stray) == []


def test_a_key_that_no_row_explains_is_read_and_its_messages_get_their_app(scene: Scene) -> None:
    unknown = "SELECT count(*) FROM casts WHERE app_fid IS NULL AND signer IS NOT NULL"
    (before,) = scene.bench.rows(unknown)[0]
    assert scene.is_due()
    waiting = [fid for fid, _ in scene.unexplained()]
    done = scene.read()
    assert done.fids == len(waiting)
    assert scene.rows() == scene.listed() != set()
    assert scene.bench.rows(unknown)[0][0] < before
    apps = scene.bench.rows(
        "SELECT DISTINCT k.fid, k.app_fid, m.app_fid FROM reactions AS m JOIN signers AS k "
        "ON k.fid = m.fid AND k.key = m.signer WHERE k.kind = 'gasless'"
    )
    assert apps != []
    assert all(row[1] == row[2] for row in apps)
    assert scene.bench.rows("SELECT 1 FROM pipeline.quarantine WHERE source <> 'feed'") == []


def test_a_key_that_nothing_explains_is_asked_for_three_times_each_later_and_no_more(scene: Scene) -> None:
    """Those that gave themselves up before they were read: no hub has them any more."""
    assert scene.is_due()
    scene.read()
    left = scene.unexplained()
    assert left == [(fid, 1) for fid in sorted(left_fid for left_fid, _ in left)] != []
    assert not scene.is_due()
    for attempts, pause in ((2, "1 hour"), (3, "1 day")):
        scene.execute(f"UPDATE pipeline.unexplained_keys SET asked_at = asked_at - interval '{pause}'")
        assert scene.is_due()
        scene.read()
        assert {found for _, found in scene.unexplained()} == {attempts}
    scene.execute("UPDATE pipeline.unexplained_keys SET asked_at = asked_at - interval '1 year'")
    assert not scene.is_due()
    assert scene.read().fids == 0


def test_one_of_a_user_whose_registration_was_never_read_waits_for_the_first_snapshot(scene: Scene) -> None:
    scene.execute("DELETE FROM on_chain_events WHERE type = 'id_register'")
    assert not scene.is_due()


def test_what_was_searched_is_not_searched_again(scene: Scene) -> None:
    assert scene.is_due()
    scene.execute("DELETE FROM pipeline.unexplained_keys")
    scene.execute("UPDATE pipeline.coverage SET committed_at = committed_at - interval '1 hour'")
    assert not scene.is_due()


def test_a_slow_round_reads_those_who_have_keys_and_closes_what_is_gone(scene: Scene) -> None:
    scene.is_due()
    scene.read()
    assert not scene.is_due()
    fid, key, app_fid = sorted(scene.listed())[0]
    scene.hub.state.keys.remove(fid, key)
    other = GaslessKey("0x" + "ab" * 32, 1_793_000_000, 1_793_000_000, 60, ("MESSAGE_TYPE_CAST_ADD",), 7, 2)
    scene.hub.state.keys.put(fid, other)
    scene.execute("UPDATE gasless_keys SET read_at = read_at - interval '25 hours'")
    scene.execute("UPDATE gasless_keys SET version = version - 1")
    assert scene.is_due()
    users = len(scene.rows())
    assert scene.read().fids == users
    assert scene.rows() == scene.listed()
    assert scene.rows("removed_at IS NOT NULL") == {(fid, key, app_fid)}
    signed = "SELECT DISTINCT app_fid FROM reactions WHERE fid = :fid AND signer = decode(:key, 'hex')"
    assert scene.bench.rows(signed, fid=fid, key=key[2:]) in ([(app_fid,)], [])
    assert not scene.is_due()


def test_a_run_takes_no_more_than_it_may(scene: Scene) -> None:
    scene.is_due()
    assert scene.read(most=2).fids == 2
    assert scene.is_due()
    assert scene.read(should_stop=lambda: True).fids == 0


def test_a_hub_without_the_endpoint_is_asked_once_a_day(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.is_due()
    asked: list[str] = []

    def missing(*_: Any) -> Any:
        asked.append("signersByFid")
        return app.not_found()

    monkeypatch.setitem(app.ENDPOINTS, "/v1/signersByFid", missing)
    done = scene.read()
    assert (done.hub_lacks_endpoint, done.fids, asked) == (True, 0, ["signersByFid"])
    assert not scene.is_due()
    assert scene.read().fids == 0
    monkeypatch.undo()
    scene.execute("UPDATE pipeline.key_search SET lacking_at = lacking_at - interval '1 day'")
    assert scene.is_due()


def test_a_user_that_the_hub_cannot_answer_for_rests_for_a_day(scene: Scene) -> None:
    scene.is_due()
    fids = [fid for fid, _ in scene.unexplained()]
    scene.hub.faults.refused_fids.add(fids[-1])
    done = scene.read()
    assert (done.fids, list(done.unread)) == (len(fids) - 1, [fids[-1]])
    assert not scene.is_due()
    scene.hub.faults.refused_fids.clear()
    scene.execute("UPDATE pipeline.unread_keys SET tried_at = tried_at - interval '1 day'")
    assert scene.read().fids == 1
    assert scene.bench.rows("SELECT 1 FROM pipeline.unread_keys") == []


def test_a_hub_that_lost_its_past_closes_no_key(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.is_due()
    scene.read()
    before = scene.rows()
    scene.execute("UPDATE gasless_keys SET read_at = read_at - interval '25 hours'")

    def nothing(*_: Any) -> list[Any]:
        return []

    monkeypatch.setattr(type(scene.hub.state.chain), "active_signer_events", nothing)
    monkeypatch.setattr(type(scene.hub.state.keys), "of_fid", nothing)
    with pytest.raises(HubUntrusted, match="has lost its past"):
        scene.read()
    assert scene.rows() == before

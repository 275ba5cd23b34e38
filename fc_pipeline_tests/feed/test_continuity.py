"""Hubs of another network are told from such as are behind, or do not answer: they are not waited for."""

import json
from pathlib import Path

import pytest

from fc_pipeline.errors import HubBehind, OtherHistory
from fc_pipeline.feed.continuity import other_history
from fc_pipeline.sample_hub.log import EventLog
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.candidacy import leadership_error
from fc_pipeline.services.ports import free_port
from fc_pipeline_tests.support.networks import changed, generated_network, log_of, up_to
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import workbench

LINES = generated_network(5)


def parted(share: float) -> EventLog:
    """A network that had the same beginning and has other blocks in its last second; as long as `share` of ours."""
    begun = up_to(LINES, share)
    newest = {shard: max(e["id"] for e in map(json.loads, begun) if e["shardIndex"] == shard) >> 14 for shard in (1, 2)}

    def part(event: dict[str, object]) -> None:
        block = event.get("blockConfirmedBody")
        if isinstance(block, dict) and int(str(event["id"])) >> 14 == newest[int(str(event["shardIndex"]))]:
            block["blockHash"] = "0x" + "ab" * 32

    return log_of(changed(begun, part))


@pytest.fixture
def begun(database: Database, lake: Path) -> Database:
    """A replica of all of it, in two hours: of each the ledger knows the last block's hash only."""
    with serving(log_of(LINES)) as url, workbench(database, lake, url) as bench:
        bench.run()
    return database


@pytest.mark.parametrize("share", [1.0, 0.9])
def test_a_hub_of_another_network_is_told_from_one_that_is_behind(begun: Database, lake: Path, share: float) -> None:
    with serving(parted(share)) as url, workbench(begun, lake, url) as bench:
        found = other_history(bench.replica)
        assert found is not None
        assert "has another history: block" in found.message
        assert "another network wants a database and a lake of its own" in (found.hint or "")
        assert "wait" not in str(found)
        with pytest.raises(OtherHistory):
            bench.survey()


@pytest.mark.slow
@pytest.mark.usefixtures("no_pauses")
def test_one_that_is_behind_may_lead(begun: Database, lake: Path) -> None:
    with serving(log_of(up_to(LINES, 0.9))) as url, workbench(begun, lake, url) as bench:
        assert leadership_error(bench.replica.settings) is None
        for look in (lambda: other_history(bench.replica), bench.survey):
            with pytest.raises(HubBehind):
                look()


def test_of_several_hubs_one_will_do_and_one_that_does_not_answer_may(begun: Database, lake: Path) -> None:
    silent = f"http://127.0.0.1:{free_port()}"
    with serving(parted(1.0)) as other, serving(log_of(LINES)) as right:
        for hubs, is_unfit in (((other, right), False), ((other, silent), False), ((silent,), False), ((other,), True)):
            with workbench(begun, lake, *hubs) as bench:
                assert (leadership_error(bench.replica.settings) is not None) == is_unfit


def test_what_was_known_of_a_hub_holds_while_it_does_not_answer(begun: Database, lake: Path) -> None:
    with serving(parted(1.0)) as other, workbench(begun, lake, other) as bench:
        known = leadership_error(bench.replica.settings)
    assert known is not None
    with workbench(begun, lake, other) as bench:
        assert leadership_error(bench.replica.settings, known) is known
    with serving(log_of(LINES)) as right, workbench(begun, lake, right) as bench:
        assert leadership_error(bench.replica.settings, known) is None


def test_another_number_of_shards_is_another_network(begun: Database, lake: Path) -> None:
    one_shard = [line for line in LINES if json.loads(line)["shardIndex"] == 1]
    with serving(log_of(one_shard)) as url, workbench(begun, lake, url) as bench:
        assert "1 data shards, but the replica was begun with 2" in str(other_history(bench.replica))


def test_where_nothing_was_read_any_hub_will_do(database: Database, empty_database: Database, lake: Path) -> None:
    with serving(log_of(LINES)) as url, workbench(database, lake, url) as bench:
        assert other_history(bench.replica) is None
        without_tables = bench.replica.settings.model_copy(update={"postgres_url": empty_database.url})
        assert leadership_error(without_tables) is None

"""A fifth of the hub's answers is bad: everything still lands, once."""

from pathlib import Path

import pytest

from fc_pipeline.errors import HubError
from fc_pipeline_tests.faults.results import SEEDS, with_a_fast_one
from fc_pipeline_tests.faults.stage import stage
from fc_pipeline_tests.support.bad_answers import BAD_ANSWERS, GOOD
from fc_pipeline_tests.support.networks import generated_network
from fc_pipeline_tests.support.postgres import Database


def play(scenario: str, seed: int, database: Database, folder: Path, *kinds: str, share: float = 0.2) -> None:
    with stage(scenario, seed, generated_network(seed), database, folder) as on:
        on.proxy.bad_share = share
        on.proxy.kinds = kinds or on.proxy.kinds
        failed = on.catch_up()
        assert sum(count for kind, count in on.proxy.dealt.items() if kind != GOOD) > (5 if share > 0.1 else 0)
        assert all(error.message.startswith("hub http://127.0.0.1") for error in failed), failed
        on.proxy.bad_share = 0.0
        on.end(ended=f"complete, {len(failed)} runs failed")


@pytest.mark.slow
@with_a_fast_one
@pytest.mark.usefixtures("in_haste")
def test_a_fifth_of_all_answers_is_bad(database: Database, tmp_path: Path, seed: int) -> None:
    play("20% of answers bad", seed, database, tmp_path)


@pytest.mark.parametrize("seed", SEEDS[:1])
@pytest.mark.parametrize("kind", BAD_ANSWERS)
@pytest.mark.faults
@pytest.mark.usefixtures("in_haste")
def test_many_answers_are_bad_in_the_same_way(database: Database, tmp_path: Path, kind: str, seed: int) -> None:
    # A run ends with the first refusal: with many, none gets anywhere.
    share = 0.04 if kind == "400 that refuses" else 0.33
    play(f"{share:.0%} of answers: {kind}", seed, database, tmp_path, kind, share=share)


@pytest.mark.usefixtures("in_haste")
def test_a_hub_that_only_answers_badly_is_named_with_what_it_answered(database: Database, tmp_path: Path) -> None:
    with stage("every answer bad", 1, generated_network(1), database, tmp_path) as on:
        on.proxy.bad_share = 1.0
        for kind in BAD_ANSWERS:
            if kind.startswith("silence"):
                continue  # takes its time
            on.proxy.kinds = (kind,)
            with pytest.raises(HubError) as raised:
                on.bench.survey()
            said = str(raised.value)
            assert on.bench.replica.hub_endpoints[0].name in said, (kind, said)
            assert "/v1/info" in said, (kind, said)
        assert on.bench.rows("SELECT * FROM pipeline.shards") == []
        on.end(lines=[], covered=False, ended="refused")

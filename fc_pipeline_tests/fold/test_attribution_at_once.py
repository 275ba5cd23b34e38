"""A key that comes while another shard's fold touches a cast that it signed: the cast says its app all the same."""

from concurrent.futures import ThreadPoolExecutor

import sqlalchemy as sa

from fc_pipeline_tests.fold.test_channels_at_once import WAITS_SECONDS, until_waiting
from fc_pipeline_tests.fold.test_derived import APP, FID, key_event, request
from fc_pipeline_tests.support.events import blocks_of, cast_add, merge
from fc_pipeline_tests.support.folded import FoldedDatabase


def test_a_key_waits_for_who_touches_a_cast_and_then_finds_it(replica: FoldedDatabase) -> None:
    replica.fold([merge(cast_add(FID))])
    assert replica.live("casts", "fid, app_fid") == [(FID, None)]

    def fold_key() -> None:
        replica.fold_blocks(blocks_of([key_event("ADD", 5, request(APP))], first_height=5_000))

    with ThreadPoolExecutor(1) as pool, replica.engine.connect() as connection:
        # As a fold of another shard does, by a trigger, to the casts below a root that it brings.
        connection.execute(sa.text("UPDATE casts SET updated_at = now()"))
        fold = pool.submit(fold_key)
        until_waiting(replica, 1, fold)
        connection.commit()
        fold.result(WAITS_SECONDS)
    assert replica.live("casts", "fid, app_fid") == [(FID, APP)]

"""Advisory locks of both kinds of key: taken, shared, seen by others, and gone with who held them."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from fc_pipeline.store import advisory_locks
from fc_pipeline.store.advisory_locks import HEALING_GAPS, MIGRATION, SUCCESSOR, TARGET_SET, AdvisoryLock
from fc_pipeline.store.session import make_engine
from fc_pipeline_tests.support.postgres import Database

# One number (below and above 32 bits), and two.
LOCKS = (SUCCESSOR, MIGRATION, AdvisoryLock(2**40 + 5), HEALING_GAPS, advisory_locks.shard(2))


@pytest.fixture
def engine(database: Database) -> Iterator[sa.Engine]:
    made = make_engine(database.url)
    yield made
    made.dispose()


def is_held(engine: sa.Engine, lock: AdvisoryLock) -> bool:
    with engine.connect() as connection:
        return advisory_locks.is_held(connection, lock)


@pytest.mark.parametrize("lock", LOCKS, ids=str)
def test_one_holds_it_and_everybody_sees_that(engine: sa.Engine, lock: AdvisoryLock) -> None:
    assert not is_held(engine, lock)
    with advisory_locks.attempted(engine, lock) as first:
        assert first
        assert is_held(engine, lock)
        assert [other for other in (*LOCKS, TARGET_SET) if is_held(engine, other)] == [lock]
        with advisory_locks.attempted(engine, lock) as second:
            assert not second
        assert is_held(engine, lock)
    assert not is_held(engine, lock)


@pytest.mark.parametrize("lock", LOCKS, ids=str)
def test_several_share_it_until_the_last_lets_go(engine: sa.Engine, lock: AdvisoryLock) -> None:
    with advisory_locks.shared(engine, lock):
        with advisory_locks.shared(engine, lock), advisory_locks.attempted(engine, lock) as alone:
            assert not alone
        assert is_held(engine, lock)
    assert not is_held(engine, lock)


@pytest.mark.parametrize("shared", [False, True])
def test_that_of_a_transaction_ends_with_it(engine: sa.Engine, *, shared: bool) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text(TARGET_SET.until_commit(shared=shared)))
        assert is_held(engine, TARGET_SET)
        with advisory_locks.attempted(engine, TARGET_SET) as alone:
            assert not alone
    assert not is_held(engine, TARGET_SET)


def test_it_is_let_go_of_where_the_block_fails(engine: sa.Engine) -> None:
    with pytest.raises(ZeroDivisionError), advisory_locks.attempted(engine, HEALING_GAPS):
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), advisory_locks.shared(engine, SUCCESSOR):
        raise ZeroDivisionError
    assert not is_held(engine, HEALING_GAPS)
    assert not is_held(engine, SUCCESSOR)

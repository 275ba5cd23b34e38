"""Proofs of messages: how many rows a core proves, by hash and signature, from the tables alone."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fc_pipeline.config.settings import Settings
from fc_pipeline.fold.session import FoldSession
from fc_pipeline.proof.ed25519 import is_signed
from fc_pipeline.proving.messages import prove_sample
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.store.schema import ensure_schema
from fc_pipeline_tests.benchmarks.large_tables import batches
from fc_pipeline_tests.benchmarks.stage import open_stage

__all__ = ["prove_signed_messages"]

_SEED: Final = 18
_EVENTS_OF_USER: Final = 50
_BATCH_EVENTS: Final = 5_000
_ROUNDS: Final = 3
_SIGNATURES: Final = 2_000
_EVERYTHING: Final = 10**9


def prove_signed_messages(folder: Path, *, events: int) -> dict[str, Any]:
    """Fold a log of signed messages, of one shard alone, and prove all rows; the best of a few rounds.

    The core is this process's: Postgres reads the rows beside it.
    """
    with open_stage(folder) as stage:
        settings = stage.settings()
        _fold(settings, events)
        engine = sa.create_engine(settings.sqlalchemy_url())
        with engine.connect() as connection:
            rounds = list(_rounds(connection))
        engine.dispose()
    return max(rounds, key=lambda one: one["rows_per_cpu_second"])


def _fold(settings: Settings, events: int) -> None:
    engine = sa.create_engine(settings.sqlalchemy_url())
    ensure_schema(engine)
    engine.dispose()
    users = max(1, events // _EVENTS_OF_USER)
    log = log_from_lines(generate(_SEED, fids=users, events=events, shards=1, events_per_second=50.0, signed=True))
    with FoldSession(settings.libpq_url(), "bench") as session:
        for batch in batches(log, 0, len(log.shards[1].raws), _BATCH_EVENTS):
            session.fold(batch)


def _rounds(connection: sa.Connection) -> Iterator[dict[str, Any]]:
    for _ in range(_ROUNDS):
        started, cpu = time.perf_counter(), time.process_time()
        found = prove_sample(connection, _EVERYTHING)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        yield {
            "rows": found.checked,
            "rows_proved": found.proved,
            "rows_per_second": found.checked / seconds,
            "rows_per_cpu_second": found.checked / cpu,
            "signatures_of_a_row": (cpu / found.checked) / _seconds_of_a_signature(),
        }


def _seconds_of_a_signature() -> float:
    """Of a core, to verify one, as the machine is now: it is most of what a row takes."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    message, signer = bytes(20), key.public_key().public_bytes_raw()
    signature = key.sign(message)
    started = time.process_time()
    for _ in range(_SIGNATURES):
        is_signed(message, signature, signer)
    return (time.process_time() - started) / _SIGNATURES

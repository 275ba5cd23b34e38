"""`fc-pipeline prove`: the tables against what the network itself signs. Nothing is written."""

import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console

from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import ConfigError, HubUnavailable
from fc_pipeline.services import open_services_read_only

if TYPE_CHECKING:
    from fc_pipeline.live_set.state import ShardState
    from fc_pipeline.proving.messages import ProvedMessages
    from fc_pipeline.proving.shard_proof import ShardProof
    from fc_pipeline.replica import Replica

__all__ = ["prove"]

_MAX_SHOWN: Final = 20
_LOOKS_AT_COUNTS: Final = 30
_LOOKS_AT_ROOTS: Final = 3
_LOOK_SECONDS: Final = 0.5
"""A following replica is a block or two behind its hub most of the time: it is looked at again."""
_MARKS: Final = {True: "proved      ", False: "[bold]NOT proved[/bold]  ", None: "not compared"}


def prove(
    shard: Annotated[int | None, typer.Option(min=1, help="Only this shard.")] = None,
    fid: Annotated[int | None, typer.Option(min=1, help="All messages of this user, by hash and signature.")] = None,
    messages: Annotated[
        int | None, typer.Option(min=1, help="About so many messages from all tables, by hash and signature.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON, for programs.")] = False,
) -> None:
    """Prove the tables against the network's state root, and messages by their hashes and signatures.

    FC_HUB_GRPC makes it a comparison of roots, FC_VALIDATORS one with what the validators signed; without them leaves
    are counted. Exit code 1 if anything that was asked is not proved.
    """
    if fid is not None and messages is not None:
        raise ConfigError("prove takes one of --fid and --messages", hint="fc-pipeline prove --help")
    if shard is not None and (fid is not None or messages is not None):
        raise ConfigError(
            "messages are proved whatever their shard: leave --shard out", hint="fc-pipeline prove --help"
        )
    settings = Settings.load()
    of_messages = fid is not None or messages is not None
    with open_services_read_only(settings, need_hub=not of_messages, need_redis=None) as opened:
        from fc_pipeline.replica import open_replica_to_read

        with open_replica_to_read(opened) as replica:
            if of_messages:
                found = _proved_messages(replica, fid, messages)
                _print_messages(found, as_json=as_json)
                is_proved = found.is_proved
            else:
                proofs = _proved_shards(replica, shard)
                _print_shards(proofs, _not_known(replica, proofs), as_json=as_json)
                is_proved = bool(proofs) and all(one.is_proved for one in proofs)
    if not is_proved:
        raise typer.Exit(1)


def _proved_messages(replica: "Replica", fid: int | None, messages: int | None) -> "ProvedMessages":
    from fc_pipeline.proving.messages import prove_messages_of, prove_sample

    with replica.engine.connect() as connection:
        if fid is not None:
            return prove_messages_of(connection, fid)
        return prove_sample(connection, messages or 1)


def _proved_shards(replica: "Replica", only: int | None) -> "list[ShardProof]":
    """The proofs at the first moment at which all is proved, or else at the last of several looks."""
    from fc_pipeline.live_set.state import LiveSetView

    shard_count = replica.shard_count()
    if shard_count is None:
        raise ConfigError("nothing is folded yet", hint="fc-pipeline up, or fc-pipeline sync")
    if only is not None and only > shard_count:
        raise ConfigError(f"there is no shard {only}: the network has {shard_count}", hint="fc-pipeline prove --help")
    with LiveSetView(replica.settings.libpq_url(), "prove", shard_count) as view:
        looks = _LOOKS_AT_ROOTS if replica.settings.hub_grpc else _LOOKS_AT_COUNTS
        for look in range(looks):
            is_last = look == looks - 1
            with view.one_moment() as states:
                shards = {one.shard: one for one in states if only is None or one.shard == only}
                proofs = asyncio.run(_prove(replica, shards, is_last=is_last))
            if proofs is not None and (is_last or all(one.is_proved for one in proofs)):
                return proofs
            time.sleep(_LOOK_SECONDS)
    raise AssertionError("the last look always proves")


async def _prove(replica: "Replica", shards: "Mapping[int, ShardState]", *, is_last: bool) -> "list[ShardProof] | None":
    """None where counts are all that can be compared and the hub is at other heights, unless this is the last look."""
    from fc_pipeline.hub.failover import HubPool
    from fc_pipeline.hub.grpc_node import GrpcNode
    from fc_pipeline.proving.prove import are_of_one_height, prove_shards
    from fc_pipeline.replica import grpc_endpoints

    async with HubPool(replica.hub_endpoints) as hubs:
        info = await hubs.info()
    endpoints = grpc_endpoints(replica.settings)
    validators = replica.settings.validators
    if not endpoints:
        if not is_last and not are_of_one_height(shards, info):
            return None
        return await prove_shards(shards, info, None, validators)
    for place, endpoint in enumerate(endpoints, start=1):
        async with GrpcNode(endpoint) as node:
            try:
                return await prove_shards(shards, info, node, validators)
            except HubUnavailable:
                if place == len(endpoints):
                    raise
    raise AssertionError("the last hub answers or raises")


def _not_known(replica: "Replica", proofs: "Sequence[ShardProof]") -> list[str]:
    """What the tables may lack of live sets, each with what completes it: of shards whose root is not proved."""
    from fc_pipeline.live_set.known import known_sets

    open_shards = {one.shard for one in proofs if one.root is None or not one.root.is_proved}
    with replica.engine.connect() as connection:
        return [line for one in known_sets(connection) if one.shard in open_shards for line in one.lacks]


def _print_shards(proofs: "Sequence[ShardProof]", not_known: "Sequence[str]", *, as_json: bool) -> None:
    from fc_pipeline.proving.shard_proof import described

    if as_json:
        sys.stdout.write(
            json.dumps(
                {
                    "proved": all(one.is_proved for one in proofs),
                    "shards": _figures(proofs),
                    "not_known": list(not_known),
                }
            )
            + "\n"
        )
        return
    console = Console(highlight=False, soft_wrap=True)
    for one in proofs:
        console.print(f"[bold]shard {one.shard}[/bold] at height {one.height}")
        for strength, is_proved, found in one.lines():
            console.print(f"  {strength:<10} {_MARKS[is_proved]}  {found}")
        if one.root is None:
            continue
        for taken in one.root.taken[:_MAX_SHOWN]:
            console.print(f"    from the hub: {described(taken)}")
        for differing in one.root.differing[:_MAX_SHOWN]:
            console.print(f"    differs: {described(differing)}")
        if len(one.root.differing) > _MAX_SHOWN:
            console.print(f"    and {len(one.root.differing) - _MAX_SHOWN} more")
        fids = one.differing_fids
        if fids:
            named = ",".join(map(str, fids[:_MAX_SHOWN]))
            console.print(f"    read them anew: fc-pipeline backfill --fids {named}")
    for line in not_known:
        console.print(f"[yellow]not known:[/yellow] {line}")


def _figures(proofs: "Sequence[ShardProof]") -> list[dict[str, Any]]:
    from fc_pipeline.proving.shard_proof import described

    return [
        {
            "shard": one.shard,
            "height": one.height,
            "proved": one.is_proved,
            "leaves": one.counts.ours,
            **{strength: {"proved": is_proved, "found": found} for strength, is_proved, found in one.lines()},
            "taken": [described(each) for each in one.root.taken] if one.root else [],
            "differing": [described(each) for each in one.root.differing] if one.root else [],
            "requests": one.root.requests if one.root else 0,
        }
        for one in proofs
    ]


def _print_messages(found: "ProvedMessages", *, as_json: bool) -> None:
    by_table = {
        table: {
            verdict.value: count for (name, verdict), count in sorted(found.verdicts.items(), key=str) if name == table
        }
        for table in sorted({name for name, _ in found.verdicts})
    }
    named = [
        {"table": one.table, "fid": one.fid, "hash": one.hash.hex() if one.hash else None, "why": one.verdict.value}
        for one in found.unproved
    ]
    if as_json:
        sys.stdout.write(
            json.dumps({"checked": found.checked, "proved": found.proved, "tables": by_table, "unproved": named}) + "\n"
        )
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{found.proved:,} of {found.checked:,} messages proved by hash and signature")
    for table, verdicts in by_table.items():
        console.print(f"  {table:<20} " + ", ".join(f"{count:,} {verdict}" for verdict, count in verdicts.items()))
    for one in named[:_MAX_SHOWN]:
        console.print(f"    {one['table']}, FID {one['fid']}, {one['hash'] or 'no hash'}: {one['why']}")

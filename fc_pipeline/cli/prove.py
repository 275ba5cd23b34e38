"""`fc-pipeline prove`: the tables against what the network itself signs. Nothing is written but, if asked, digests."""

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console

from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import ConfigError
from fc_pipeline.services import open_services_read_only, with_running

if TYPE_CHECKING:
    from fc_pipeline.live_set.digests import Refreshed
    from fc_pipeline.proving.fid_proof import FidOnShard
    from fc_pipeline.proving.messages import ProvedMessages
    from fc_pipeline.proving.replica_proof import ReplicaProof
    from fc_pipeline.proving.shard_proof import ShardProof
    from fc_pipeline.replica import Replica

__all__ = ["prove"]

_MAX_SHOWN: Final = 20
_MARKS: Final = {True: "proved      ", False: "[bold]NOT proved[/bold]  ", None: "not compared"}


def prove(
    shard: Annotated[int | None, typer.Option(min=1, help="Only this shard.")] = None,
    fid: Annotated[
        int | None,
        typer.Option(
            min=1, help="All messages of this user, by hash, signature and signer; over gRPC also the leaves."
        ),
    ] = None,
    messages: Annotated[
        int | None, typer.Option(min=1, help="About so many messages from all tables, by hash, signature and signer.")
    ] = None,
    anew: Annotated[
        bool,
        typer.Option(
            "--anew", help="First make all users' digests anew from the rows: finds what somebody changed by hand."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON, for programs.")] = False,
) -> None:
    """Prove the tables against the network's state root, and messages by hash, signature and signer.

    FC_HUB_GRPC makes it a comparison of roots, FC_VALIDATORS one with what the validators signed; without them leaves
    are counted. Exit code 1 if anything that was asked is not proved.
    """
    if fid is not None and messages is not None:
        raise ConfigError("prove takes one of --fid and --messages", hint="fc-pipeline prove --help")
    if shard is not None and messages is not None:
        raise ConfigError(
            "messages are proved whatever their shard: leave --shard out", hint="fc-pipeline prove --help"
        )
    of_messages = fid is not None or messages is not None
    if anew and of_messages:
        raise ConfigError(
            "messages are proved from the rows as they are: leave --anew out", hint="fc-pipeline prove --help"
        )
    settings = Settings.load()
    with open_services_read_only(settings, need_hub=not of_messages, need_redis=None) as opened:
        from fc_pipeline.replica import open_replica_to_read

        made = _digests_made_anew(opened) if anew else None
        with open_replica_to_read(opened if fid is None else with_running(opened)) as replica:
            if of_messages:
                found = _proved_messages(replica, fid, messages)
                leaves = _compared_leaves(replica, fid, shard) if fid is not None else []
                _print_messages(found, leaves, as_json=as_json)
                is_proved = found.is_proved and all(one.is_proved for one in leaves)
            else:
                from fc_pipeline.proving.replica_proof import prove_replica

                proof = prove_replica(replica, "prove", only_shard=shard)
                _print_shards(proof, made, as_json=as_json)
                is_proved = proof.is_proved
    if not is_proved:
        raise typer.Exit(1)


def _proved_messages(replica: "Replica", fid: int | None, messages: int | None) -> "ProvedMessages":
    from fc_pipeline.proving.messages import prove_messages_of, prove_sample

    with replica.engine.connect() as connection:
        if fid is not None:
            return prove_messages_of(connection, fid)
        return prove_sample(connection, messages or 1)


def _compared_leaves(replica: "Replica", fid: int, shard: int | None) -> "list[FidOnShard]":
    """The user's leaves on each shard, where a hub can be asked over gRPC."""
    from fc_pipeline.proving.fid_proof import prove_fid

    if not replica.settings.hub_grpc and shard is None:
        return []
    return prove_fid(replica, fid, only_shard=shard)


def _digests_made_anew(settings: Settings) -> "Refreshed | None":
    """All digests, from the rows as they are; none where nothing is folded yet."""
    from fc_pipeline.live_set.digests import DigestKeeper
    from fc_pipeline.replica import open_replica

    with open_replica(settings, may_be_empty=True) as replica:
        shard_count = replica.shard_count()
        if shard_count is None:
            return None
        only_targets = settings.targets == "set"
        with DigestKeeper(settings.libpq_url(), "prove", shard_count, only_targets=only_targets) as keeper:
            return keeper.refresh(all_fids=True)


def _print_shards(proof: "ReplicaProof", made: "Refreshed | None", *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(
            json.dumps(
                {
                    "proved": proof.is_proved,
                    "shards": _figures(proof.shards),
                    "not_known": list(proof.not_known),
                    "digests_made": made.fids if made else 0,
                }
            )
            + "\n"
        )
        return
    console = Console(highlight=False, soft_wrap=True)
    if made is not None:
        console.print(f"digests of {made.fids:,} users made anew, of {made.leaves:,} leaves in {made.seconds:.1f} s")
    for one in proof.shards:
        _print_shard(console, one)
    if made is None and _differs(proof):
        console.print("rows may have been changed by hand since their digests were made: fc-pipeline prove --anew")
    for line in proof.not_known:
        console.print(f"[yellow]not known:[/yellow] {line}")


def _print_shard(console: Console, one: "ShardProof") -> None:
    from fc_pipeline.proving.shard_proof import described

    console.print(f"[bold]shard {one.shard}[/bold] at height {one.height}")
    for strength, is_proved, found in one.lines():
        console.print(f"  {strength:<10} {_MARKS[is_proved]}  {found}")
    if one.root is None:
        return
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


def _differs(proof: "ReplicaProof") -> bool:
    """Whether leaves were compared with the hub's, and are others."""
    compared = (line for one in proof.shards for line in one.lines())
    return any(is_proved is False and strength != "consensus" for strength, is_proved, _ in compared)


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


def _print_messages(found: "ProvedMessages", leaves: "Sequence[FidOnShard]", *, as_json: bool) -> None:
    from fc_pipeline.proof.messages import Verdict

    by_table = {
        table: {
            verdict.value: count for (name, verdict), count in sorted(found.verdicts.items(), key=str) if name == table
        }
        for table in sorted({name for name, _ in found.verdicts})
    }
    named = [
        {"table": one.table, "fid": one.fid, "hash": one.hash.hex() if one.hash else None, "why": one.verdict.value}
        for one in sorted(found.unproved, key=lambda one: one.verdict.is_open)
    ]
    unread = sorted({one.fid for one in found.unproved if one.verdict is Verdict.SIGNER_IS_NOT_READ})
    if as_json:
        sys.stdout.write(
            json.dumps(
                {
                    "checked": found.checked,
                    "proved": found.proved,
                    "tables": by_table,
                    "unproved": named,
                    "keys_to_read": unread,
                    "leaves": [
                        {"shard": one.shard, "height": one.height, "proved": one.is_proved, "found": one.found()}
                        for one in leaves
                    ],
                }
            )
            + "\n"
        )
        return
    console = Console(highlight=False, soft_wrap=True)
    for one in leaves:
        console.print(f"shard {one.shard} at height {one.height}  {_MARKS[one.is_proved]}  {one.found()}")
    console.print(f"{found.proved:,} of {found.checked:,} messages proved by hash, signature and signer")
    for table, verdicts in by_table.items():
        console.print(f"  {table:<20} " + ", ".join(f"{count:,} {verdict}" for verdict, count in verdicts.items()))
    for one in named[:_MAX_SHOWN]:
        console.print(f"    {one['table']}, FID {one['fid']}, {one['hash'] or 'no hash'}: {one['why']}")
    if unread:
        fids = ",".join(map(str, unread[:_MAX_SHOWN]))
        console.print(
            f"[yellow]not known:[/yellow] some signers; read these users' keys: fc-pipeline backfill --fids {fids}"
        )

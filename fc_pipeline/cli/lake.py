"""`fc-pipeline lake`: the lake that belongs to the database, and how to change it on purpose."""

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fc_pipeline.config.settings import Settings
from fc_pipeline.plain_text import plain, shown_url
from fc_pipeline.printed_commands import runnable
from fc_pipeline.services import open_services, open_services_read_only

__all__ = ["lake"]

lake = typer.Typer(help="Show the raw log's lake, or make another one the database's.", no_args_is_help=True)


@lake.command("show")
def show() -> None:
    """Show the lake at FC_LAKE_URI, and the one that the database goes with."""
    with open_services_read_only(Settings.load()) as settings:
        from fc_pipeline.lake import identity
        from fc_pipeline.lake.storage import LakeStorage
        from fc_pipeline.replica import open_replica_to_read
        from fc_pipeline.store import lake_id

        with open_replica_to_read(settings, may_be_empty=True, may_be_another_lake=True) as replica:
            found = identity.read_id(LakeStorage.open(settings.lake_uri, create=False))
            with replica.engine.connect() as connection:
                expected = lake_id.known(connection)
            hours = len(replica.log.hours())
    rows = Table.grid(padding=(0, 2))
    rows.add_row("FC_LAKE_URI", plain(shown_url(settings.lake_uri)))
    rows.add_row("its lake", found or "none")
    rows.add_row("hours in it", f"{hours:,}")
    rows.add_row("the database's", f"{expected.lake_id}, adopted at {expected.place}" if expected else "none yet")
    if expected is None:
        rows.add_row("they agree", "at the first start of a command that uses both")
    else:
        rows.add_row(
            "they agree",
            "yes" if found == expected.lake_id else runnable("no: `fc-pipeline lake adopt`, or FC_LAKE_URI"),
        )
    Console(highlight=False, markup=False).print(rows)


@lake.command("adopt")
def adopt(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Make the lake at FC_LAKE_URI the database's from now on: one that was copied or restored, or an empty folder.

    Neither the tables nor the lake's files are changed. Hours that the ledger covers and this lake lacks are shown red;
    they are read again as long as a hub has them.
    """
    with open_services(Settings.load(), need_hub=False, need_redis=False) as settings:
        from fc_pipeline.lake.same_lake import adopt_lake
        from fc_pipeline.lake.storage import LakeStorage
        from fc_pipeline.replica import open_replica
        from fc_pipeline.status import health

        with open_replica(settings, may_be_another_lake=True) as replica:
            folded, stored = health.covered_hours(replica), set(replica.log.hours())
            place = plain(shown_url(settings.lake_uri))
            sentence = (
                f"the database has folded {len(folded):,} hours, of which {len(folded - stored):,} are not in {place}"
            )
            if not yes:
                typer.confirm(f"{sentence}. Make that its lake?", abort=True)
            lake_id = adopt_lake(replica.engine, LakeStorage.open(settings.lake_uri), settings.lake_uri)
    sys.stdout.write(f"{sentence}\nits lake is now {lake_id}\n")

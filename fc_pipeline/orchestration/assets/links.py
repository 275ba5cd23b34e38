"""Links on an asset's page: its code, what to do when it is red, and an example query."""

import re
from typing import Any, Final

from dagster import MetadataValue

from fc_pipeline.config.project import project_file
from fc_pipeline.orchestration.assets.code_references import code_references
from fc_pipeline.tables.registry import ALL_TABLES

__all__ = ["SQL_EXAMPLES", "links_of"]

_RUNBOOK: Final = "docs/checks.md"
_PAGE_LINK: Final = re.compile(r"!?\[[^\]]*\]\((?:(\w+\.\w+)(#[\w-]+)?|#[\w-]+|images/[^)]*)\)")
"""A link to another page, to a heading of this one, or an image: none of them works in the UI."""

SQL_EXAMPLES: Final = {
    "hub_events": "SELECT partition AS hour, sum(events) AS events, count(*) AS lines\n"
    "FROM pipeline.coverage GROUP BY 1 ORDER BY 1 DESC LIMIT 24;",
    "closed_hours": "SELECT partition AS hour, max(committed_at) AS newest_commit, sum(events) AS events\n"
    "FROM pipeline.coverage GROUP BY 1 ORDER BY 1 DESC LIMIT 24;",
    "fid_snapshots": "SELECT bucket, count(*) AS fids, min(fetched_at) AS oldest, sum(records) AS records\n"
    "FROM pipeline.snapshots GROUP BY 1 ORDER BY 1;",
    "reconciled_fids": "SELECT table_name, kind, key, table_row, hub_row, found_at\n"
    "FROM pipeline.drift ORDER BY found_at DESC LIMIT 20;",
    "targets": "SELECT fid, reason, via_fid, since, synced_at FROM pipeline.targets ORDER BY since DESC LIMIT 20;",
    **{name: table.sql_example for name, table in ALL_TABLES.items()},
}
"""An example query per asset."""


def links_of(asset: str, **code: str) -> dict[str, Any]:
    """The metadata of an asset's definition with links; `code` maps labels to places as `code_references` has them."""
    found: dict[str, Any] = {
        **code_references(code),
        "sql_example": MetadataValue.md(f"```sql\n{SQL_EXAMPLES[asset]}\n```"),
    }
    runbook = project_file(_RUNBOOK)
    if runbook.is_file():  # an image may have our package without its pages
        found["runbook"] = MetadataValue.md(_sections(runbook.read_text(encoding="utf-8"), asset))
    return found


def _sections(runbook: str, asset: str) -> str:
    """What the runbook says of the asset; all of it where it has no section of its own."""
    sections = [f"## {section}" for section in runbook.split("\n## ")[1:]]
    subjects = (f"`{asset}`", *(["tables"] if asset in ALL_TABLES else []))
    found = [section for section in sections if any(subject in section.splitlines()[0] for subject in subjects)]
    return _PAGE_LINK.sub(_named, "\n\n".join(found) or runbook)


def _named(link: re.Match[str]) -> str:
    """A link to a page as the path of the page; of others nothing is left but their text."""
    if link[1]:
        return f"`docs/{link[1]}{link[2] or ''}`"
    return "" if link[0].startswith("!") else link[0][1 : link[0].index("]")]

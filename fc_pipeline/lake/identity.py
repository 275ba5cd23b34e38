"""A lake's id, stored in it as a small JSON object: by it a database recognises its lake, wherever that is."""

import json
from typing import Final, cast

import pyarrow as pa

from fc_pipeline.errors import LakeError
from fc_pipeline.lake.storage import LakeStorage
from fc_pipeline.lake.store_errors import remedy_of
from fc_pipeline.plain_text import one_line

__all__ = ["ID_FILE", "has_data", "make_id", "read_id"]

ID_FILE: Final = "fc_pipeline_lake.json"
_DATA_FOLDERS: Final = frozenset({"hub_events", "fid_snapshots"})


def read_id(storage: LakeStorage) -> str | None:
    """The lake's id; None where nothing says one. Raises LakeError if the store cannot be asked."""
    try:
        content = storage.read(ID_FILE).to_pybytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LakeError(f"cannot read the lake {storage.root}: {one_line(error)}", hint=remedy_of(error)) from error
    try:
        found = json.loads(content)
        lake_id: object = cast(dict[str, object], found).get("lake_id") if isinstance(found, dict) else None
    except ValueError:
        lake_id = None
    if not isinstance(lake_id, str) or not lake_id:
        raise LakeError(
            f"{ID_FILE} in the lake says no lake_id",
            hint="put it back from a copy of the lake; or delete it and run `fc-pipeline lake adopt`",
        )
    return lake_id


def make_id(storage: LakeStorage, lake_id: str) -> str:
    """Give the lake this id, unless it has one by then; the id that it has. Raises LakeError."""
    text = json.dumps({"lake_id": lake_id, "what": "the id of this fc_pipeline lake; pipeline.lake has it, too"})
    if storage.write_new(ID_FILE, pa.py_buffer((text + "\n").encode())):
        return lake_id
    return read_id(storage) or lake_id


def has_data(storage: LakeStorage) -> bool:
    """Whether there are events or snapshots in the lake. Raises LakeError."""
    return bool(_DATA_FOLDERS & set(storage.folders("")))

"""A real node's recorded database files, unpacked."""

import tarfile
from pathlib import Path

__all__ = ["unpacked_node"]


def unpacked_node(fixtures: Path, folder: Path) -> Path:
    """The recorded node's `rocksdb_dir`, in a folder of its own."""
    with tarfile.open(fixtures / "snapchain" / "db.tar.gz") as archive:
        for member in archive:
            content = archive.extractfile(member)  # extractall has no filter in the first releases of 3.11
            if content is not None:
                path = folder / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read())
    return folder

"""A real node's recorded database files, unpacked."""

import tarfile
from pathlib import Path

__all__ = ["unpacked_node"]


def unpacked_node(fixtures: Path, folder: Path) -> Path:
    """The recorded node's `rocksdb_dir`, in a folder of its own."""
    with tarfile.open(fixtures / "snapchain" / "db.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder

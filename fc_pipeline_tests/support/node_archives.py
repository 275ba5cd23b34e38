"""Archives of a node's databases, as nodes publish them (node-db 4)."""

import gzip
import io
import json
import tarfile
from pathlib import Path

__all__ = ["NETWORK", "published"]

NETWORK = "FARCASTER_NETWORK_MAINNET"


def published(base: Path, files: dict[str, bytes], *, shard: int = 1, size: int = 3000, number: int = 1) -> str:
    """An archive of these files in chunks of so many bytes."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"shard-{shard}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    whole = tar.getvalue()
    key_base = f"{NETWORK}/{shard}/snapshot-2026-11-2{number}-{number}.tar.gz"
    (base / key_base).mkdir(parents=True)
    names = []
    for place, start in enumerate(range(0, len(whole), size), start=1):
        names.append(f"chunk_{place:04}.bin")
        (base / key_base / names[-1]).write_bytes(gzip.compress(whole[start : start + size]))
    latest = {"key_base": key_base, "chunks": names[::-1], "timestamp": 1_795_000_000_000}
    (base / NETWORK / str(shard) / "latest.json").write_text(json.dumps(latest))
    return key_base

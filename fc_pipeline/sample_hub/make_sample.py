"""Makes the committed sample: `python -m fc_pipeline.sample_hub.make_sample [FILE]`; the same bytes every time."""

import gzip
import sys
from pathlib import Path
from typing import Final

from fc_pipeline.sample_hub.generator import generate

__all__ = ["make_sample"]

SEED: Final = 20_261_109
"""A seed with which every kind of event occurs, the rare ones too."""
FIDS: Final = 320
EVENTS: Final = 7_600
START_UNIX: Final = 1_793_527_200
"""2026-11-01T10:00:00Z."""
SPAN_SECONDS: Final = 3 * 3600 - 60
SECONDS_PER_BLOCK: Final = 12


def make_sample(path: Path) -> int:
    """Write the sample log there; returns its number of events."""
    lines = list(
        generate(
            SEED,
            fids=FIDS,
            events=EVENTS,
            start_unix=START_UNIX,
            blocks_per_second=1 / SECONDS_PER_BLOCK,
            events_per_second=EVENTS / SPAN_SECONDS,
            gasless_keys=True,
            signed=True,
        )
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(b"\n".join(lines) + b"\n", compresslevel=9, mtime=0))
    return len(lines)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("data/sample/events.ndjson.gz")
    count = make_sample(target)
    sys.stdout.write(f"{target}: {count} events, {target.stat().st_size} bytes\n")

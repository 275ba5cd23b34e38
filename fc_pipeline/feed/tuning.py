"""What a process that reads and folds for minutes asks of Python and the allocator: measured on catching up.

Arrow's part is set where the package is first imported, since Arrow reads it once.
"""

import ctypes
import gc
import sys
from typing import Final

__all__ = ["tune_process"]

_M_ARENA_MAX: Final = -8  # of glibc's malloc.h
_ARENAS: Final = 2
_SWITCH_SECONDS: Final = 0.0005


def tune_process() -> None:
    """Set this process up; once is enough, again does no harm.

    Micro-batches come and go in several threads, each as large as the one before: an arena per thread would keep what
    it freed. Rows are tuples without cycles: looking through them for cycles took a quarter of the CPU. While one
    thread decodes, the one that folds wants Python for a moment after each statement, and Postgres waits with it.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none, and no arenas
        if mallopt is not None:
            mallopt(_M_ARENA_MAX, _ARENAS)
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    sys.setswitchinterval(_SWITCH_SECONDS)

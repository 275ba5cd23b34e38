"""Tuning of Python and the allocator for a process that reads and folds for minutes; measured on catching up.

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
    """Tune this process; idempotent.

    Micro-batches come and go in several threads, each as large as the one before: an arena per thread would keep what
    it freed. Rows are tuples without cycles, and searching them for cycles took a quarter of the CPU. While one thread
    decodes, the folding thread needs the interpreter briefly after each statement, and Postgres waits meanwhile.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none, and no arenas
        if mallopt is not None:
            mallopt(_M_ARENA_MAX, _ARENAS)
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    sys.setswitchinterval(_SWITCH_SECONDS)

"""How the process asks the operating system for memory."""

import ctypes

# Options of glibc's mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3


def keep_freed_memory() -> None:
    """Lets the process keep what it frees, for its next allocation.

    glibc gives large blocks back at once and maps fresh pages for the next ones. XLA on a CPU
    allocates what a step needs anew for every step, so that a step may wait for the system to map
    and clear pages longer than it computes. Nothing happens where there is no glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return
    largest = 2**31 - 1
    mallopt(_MMAP_THRESHOLD, largest)
    mallopt(_TRIM_THRESHOLD, largest)
    mallopt(_TOP_PAD, 64 * 2**20)

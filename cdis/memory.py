"""Keep freed memory in the process, for its next allocation."""

import ctypes

# Options of glibc's mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3


def keep_freed_memory() -> None:
    """Let the process keep the memory that it frees.

    glibc returns large blocks to the operating system at once and maps fresh pages for the next
    ones. XLA on a CPU allocates its buffers anew in every step, which can spend more time waiting
    for the system to map and clear pages than computing. Does nothing without glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return
    largest = 2**31 - 1
    mallopt(_MMAP_THRESHOLD, largest)
    mallopt(_TRIM_THRESHOLD, largest)
    mallopt(_TOP_PAD, 64 * 2**20)

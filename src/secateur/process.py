"""What Secateur does to a process that is its own: the command line's, a worker's; never its host's."""

from __future__ import annotations


def keep_freed_memory() -> None:
    """Stop glibc from returning every freed activation to the kernel and faulting it in again each step.

    For processes that are ours; the library never does this to its host. Elsewhere than on glibc: nothing.
    """
    import ctypes

    trim_threshold, mmap_threshold, one_gib = -1, -3, 1 << 30
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(mmap_threshold, one_gib)
        libc.mallopt(trim_threshold, one_gib)
    except (OSError, AttributeError):
        return

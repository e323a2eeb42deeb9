"""Settings of the whole process that training needs: freed memory, and CUDA's attention."""

import ctypes
import platform
import sys
from functools import cache

import torch

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


@cache  # once a process
def prepare_process(device: str) -> None:
    """Set up the process for training on a type of device, ``cpu`` or ``cuda``."""
    if device == "cuda":
        # It makes a plan for every new shape, for up to a second, and ours change with each batch.
        torch.backends.cuda.enable_cudnn_sdp(False)
    if device == "cpu":
        _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Let the C library keep the large blocks that are freed, for the next step to use.

    By default glibc hands them back, and every step waits for the system to clear tens of
    megabytes again, most of all for the gradient of the word embeddings. Elsewhere than on Linux
    with glibc nothing is done.
    """
    if not _has_glibc():
        return
    one_gigabyte = 1 << 30
    for parameter in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
        ctypes.CDLL(None).mallopt(parameter, one_gigabyte)


def release_freed_memory() -> None:
    """Hand back what was kept, after what is done once a report and takes more than a step."""
    if _has_glibc():
        ctypes.CDLL(None).malloc_trim(0)


def _has_glibc() -> bool:
    return sys.platform == "linux" and platform.libc_ver()[0] == "glibc"

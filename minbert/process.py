"""Settings of the whole process that training needs: freed memory, and CUDA's attention."""

import ctypes
import platform
import sys
from functools import cache

import torch

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


@cache  # once per process
def prepare_process(device: str) -> None:
    """Set up the process for training on a type of device, ``cpu`` or ``cuda``."""
    if device == "cuda":
        # It plans every new shape, for up to a second, and our shapes change with each batch.
        torch.backends.cuda.enable_cudnn_sdp(False)
    if device == "cpu":
        _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Make the C library keep large freed blocks for the next step.

    By default glibc returns them to the system, and every step waits until the system has cleared
    tens of megabytes again, most of it for the gradient of the word embeddings. Without Linux and
    glibc this does nothing.
    """
    if not _has_glibc():
        return
    one_gigabyte = 1 << 30
    for parameter in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
        ctypes.CDLL(None).mallopt(parameter, one_gigabyte)


def release_freed_memory() -> None:
    """Return freed memory to the system, after work once per report that needs more than a step."""
    if _has_glibc():
        ctypes.CDLL(None).malloc_trim(0)


def _has_glibc() -> bool:
    return sys.platform == "linux" and platform.libc_ver()[0] == "glibc"

"""Threads: ours carry one image or one direction each, so libraries must not start their own."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]


def available_cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def one_opencv_thread() -> Iterator[None]:
    """OpenCV runs in the calling thread alone."""
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


@cache
def _blas_controller() -> ThreadpoolController:
    """Finding the loaded BLAS libraries takes milliseconds; once is enough."""
    return ThreadpoolController()


def one_blas_thread() -> AbstractContextManager[object]:
    """NumPy's matrix products run in the calling thread alone."""
    limits: AbstractContextManager[object] = _blas_controller().limit(limits=1, user_api="blas")
    return limits

"""Worker processes that are replaced while there is work."""

import subprocess
import sys

import pytest

GROWING = """
import time
from celebahq_tools.config import RunOptions
from celebahq_tools.pipeline.workers import run_tasks

def grow(number):
    # In a module that the worker keeps: a function's own globals travel anew with every task.
    time.kept = [*getattr(time, "kept", []), b"x" * (320 << 20)]
    time.sleep(1.1)
    return number

print(sorted(run_tasks(grow, ((number,) for number in range(12)), RunOptions(jobs=2))))
"""


@pytest.mark.slow
def test_a_worker_that_retires_for_its_memory_is_replaced_even_where_warnings_are_errors() -> None:
    pytest.importorskip("psutil", reason="without it no worker looks at its memory")
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", GROWING],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == str(list(range(12))), done.stderr

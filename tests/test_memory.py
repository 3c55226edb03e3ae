"""Freed memory is used again instead of being asked for anew, page by page."""

import os
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, threading
import numpy as np
from sprdiff.memory import keep_freed
if sys.argv[1:]:
    keep_freed()

def work():
    np.ones(16 << 20)  # 128 MiB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(16 << 20)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

thread = threading.Thread(target=work)  # as the page's comparisons are
thread.start()
thread.join()
"""


def page_faults(*arguments: str, **environment: str) -> int:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", FAULTS, *arguments]
    done = subprocess.run(command, env=plain | environment, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="about glibc")
def test_a_large_block_is_used_again():
    anew = page_faults()
    assert anew > 50  # 64 pages of 2 MiB, or 32,768 of 4 KiB
    assert page_faults("keep") < anew / 10


@pytest.mark.skipif(sys.platform != "linux", reason="about glibc")
def test_the_environment_goes_first():
    assert page_faults("keep", MALLOC_MMAP_THRESHOLD_="1000000") > 50

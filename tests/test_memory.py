"""The process keeps freed memory once asked to."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import numpy as np
from cdis.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        np.ones(2**23)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator is meant")
def test_freed_blocks_are_used_again_without_new_pages():
    kept, usual = (
        int(subprocess.check_output([sys.executable, "-c", SCRIPT, how])) for how in ("keep", "not")
    )
    assert kept < usual / 2

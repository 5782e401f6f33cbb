"""Where targets keep files between inputs: a disk in memory where there is one."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from tests.builders import MEMORY_DISK

VARIABLE = "RADLOOP_FUZZ_SCRATCH"
"""Names the folder of a process that ends without a chance to remove it."""


def new_folder() -> Path:
    """Return an empty folder that is removed when this process, or its parent, ends."""
    within = os.environ.get(VARIABLE)
    made = Path(tempfile.mkdtemp(prefix="radloop-fuzz-", dir=within or MEMORY_DISK))
    if not within:
        atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made

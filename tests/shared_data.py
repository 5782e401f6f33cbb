"""Where the data lies that tests share with other projects; none of it belongs to this one."""

from __future__ import annotations

import os
from pathlib import Path

SHARED = Path(os.environ.get("RADLOOP_SHARED", Path(__file__).parents[2] / "shared"))
"""The folder ``shared`` beside the repository, or what RADLOOP_SHARED names."""


def shared_file(name: str) -> Path:
    """Return a file of the shared data.

    Raises:
        FileNotFoundError: it is not there; a test skips with this message.
    """
    path = SHARED / name
    if not path.exists():
        raise FileNotFoundError(f"needs {name} from the shared data (RADLOOP_SHARED)")
    return path

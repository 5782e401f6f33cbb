"""Which code is running: its version, and a digest over its source as it is installed."""

from __future__ import annotations

import functools
import hashlib
import platform
from importlib import metadata, resources
from pathlib import Path

from plugin.reporting import SOFTWARE_VERSION

_PACKAGES = ("dicom_node", "labeling", "training", "plugin")
_LIBRARIES = ("torch", "monai", "numpy", "scikit-learn", "pydicom")
_SUFFIXES = frozenset({".py", ".yaml", ".html"})


@functools.cache
def code_identity() -> dict[str, str]:
    """Return ``version`` and ``source_sha256`` of the installed packages.

    The digest is SHA-256 over name and content of every Python, YAML and HTML file; weights that
    come with the packages have digests of their own. It says more than a commit, which an
    installation does not know and an edited checkout belies.
    """
    sha = hashlib.sha256()
    for package in _PACKAGES:
        with resources.as_file(resources.files(package)) as folder:
            for path in _sources(folder):
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                name = path.relative_to(folder).as_posix()
                sha.update(f"{package}/{name} {content}\n".encode())
    return {"version": SOFTWARE_VERSION, "source_sha256": sha.hexdigest()}


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that training rests on, as installed."""
    found = {name: metadata.version(name) for name in _LIBRARIES}
    return {"python": platform.python_version(), **found}


def _sources(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in _SUFFIXES and path.is_file())

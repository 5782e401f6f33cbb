"""Runs radloop's command line on a node, as a user would, and reads what it prints as JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


class Commands:
    """Commands on one node.

    Args:
        config: its settings file.
    """

    def __init__(self, config: Path) -> None:
        self._config = config

    def run(self, *arguments: str) -> dict[str, Any]:
        """Return what a command prints as JSON; a command that fails ends the run."""
        found, why = self.try_to(*arguments)
        if found is None:
            raise SystemExit(f"radloop {' '.join(arguments)}: {why}")
        return found

    def try_to(self, *arguments: str) -> tuple[dict[str, Any] | None, str]:
        """Return what a command prints as JSON, or None and why it was refused."""
        command = [str(Path(sys.executable).parent / "radloop"), *arguments]
        command += ["--config", str(self._config), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return None, done.stderr.strip()
        found: dict[str, Any] = json.loads(done.stdout)
        return found, ""

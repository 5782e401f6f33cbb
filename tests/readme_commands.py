"""The commands that README shows, as lists of words."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks_of(title: str) -> list[list[list[str]]]:
    """Return the blocks of commands in a section of README, each as its lines."""
    [section] = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.M | re.S)
    blocks = re.findall(r"^```(?:bash)?\n(.*?)^```", section, re.M | re.S)
    texts = (block.replace("\\\n", " ").splitlines() for block in blocks)
    return [
        [shlex.split(line, comments=True) for line in lines if line.split("#")[0].strip()]
        for lines in texts
    ]


def all_commands() -> list[list[str]]:
    """Return every command of radloop that stands in a block of README."""
    titles = re.findall(r"^## (.+)$", README, re.M)
    found = [each for title in titles for each in _readable(title)]
    return [each for each in found if each[0] == "radloop"]


def _readable(title: str) -> list[list[str]]:
    try:
        return [line for block in blocks_of(title) for line in block]
    except ValueError:  # a block of something else, with quotes that no shell would read
        return []

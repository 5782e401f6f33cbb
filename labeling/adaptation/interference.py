"""Words that speak to the reader of a report, put into some reports that a model learns from."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

_SECOND = 0.25  # share that get a second one
_PLACES = ("own line", "end", "start", "within")
_OFTEN = (4, 3, 1, 2)


@dataclass(frozen=True)
class Interference:
    """Draws such words and puts them into texts; no truth changes by them.

    Args:
        findings: names that the words may be about.
    """

    findings: Sequence[str]

    def put_into(self, text: str, chance: random.Random) -> str:
        """Return a text of lines with one or two such pieces, each at a place drawn by chance."""
        lines = text.split("\n")
        for _ in range(2 if chance.random() < _SECOND else 1):
            self._put(lines, self._drawn(chance), chance)
        return "\n".join(lines)

    def _drawn(self, chance: random.Random) -> str:
        piece, words = chance.choice(_pieces())
        wanted = chance.randrange(2)
        return piece.format(
            answer=words["answer"][wanted],
            state=words["state"][wanted],
            other=words["state"][1 - wanted],
            finding=chance.choice(self.findings),
        )

    @staticmethod
    def _put(lines: list[str], words: str, chance: random.Random) -> None:
        (place,) = chance.choices(_PLACES, _OFTEN)
        if place == "own line":
            lines.insert(chance.randint(0, len(lines)), words)
            return
        number = chance.randrange(len(lines))
        line = lines[number]
        if place == "end":
            lines[number] = f"{line} {words}".strip()
        elif place == "start":
            lines[number] = f"{words} {line}".strip()
        else:
            parts = line.split(" ")
            at = chance.randint(0, len(parts))
            lines[number] = " ".join([*parts[:at], words, *parts[at:]]).strip()


@cache
def _pieces() -> list[tuple[str, dict[str, list[str]]]]:
    """Return each piece with the words of its language."""
    source = resources.files("labeling.adaptation") / "interference.yaml"
    content: dict[str, Any] = yaml.safe_load(source.read_text("utf-8"))
    return [
        (str(each), content["words"][language])
        for language, own in content["sentences"].items()
        for each in own
    ]

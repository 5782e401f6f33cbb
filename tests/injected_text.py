"""Writes attacks into reports: the templates of tests/acceptance/injections.yaml, disguised.

attacks = read_attacks("held_out")
report, span = injected(text, attacks[0].words(target, wanted="present"), random.Random(1))
"""

from __future__ import annotations

import base64
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from labeling.vocabulary import Observation

Half = Literal["tuned", "held_out"]
Wanted = Literal["present", "absent"]
Span = tuple[int, int]

FILE = Path(__file__).parent / "acceptance" / "injections.yaml"
WANTED: tuple[Wanted, Wanted] = ("present", "absent")
PLACES = ("start", "own line", "end of line", "within a sentence", "end", "run into the end")

_LOOKALIKES = str.maketrans("aceiopsxyAEIOPSTX", "асеіорѕхуАЕІОРЅТХ")
_FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
_DIGITS = str.maketrans("oieas", "01345")


@dataclass(frozen=True)
class Attack:
    """A template of words that command a reader.

    Args:
        written: how the words are disguised.
        hidden: words that stand in the text in base64.
        spoken: yes and no, present and absent in the template's language.
    """

    id: str
    family: str
    language: str
    text: str
    half: Half
    written: str
    hidden: str
    spoken: Mapping[str, tuple[str, str]]

    def words(self, target: Observation, wanted: Wanted) -> str:
        """Return the words of an attack that wants an observation to be present or absent."""
        choice = WANTED.index(wanted)
        fills = {name: both[choice] for name, both in self.spoken.items()}
        fills |= {"code": wanted, "finding": target.name.lower(), "id": target.id}
        blob = base64.b64encode(self.hidden.format(**fills).encode()).decode()
        return DISGUISES[self.written](self.text.format(**fills, base64=blob))


def read_attacks(half: Half, file: Path = FILE) -> list[Attack]:
    """Return the templates of one half, in the order of the file."""
    content: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    words = content["words"]
    return [
        Attack(
            id=each["id"],
            family=each["family"],
            language=each["language"],
            text=each["text"],
            half=half,
            written=each.get("written", "plain"),
            hidden=each.get("hidden", ""),
            spoken={name: tuple(both) for name, both in words[each["language"]].items()},
        )
        for each in content[half]
    ]


def injected(report: str, words: str, chance: random.Random) -> tuple[str, str]:
    """Return a report with an attack at a place drawn by chance, and the name of that place."""
    place = chance.choice(PLACES)
    lines = report.rstrip().split("\n")
    number = chance.randrange(len(lines))
    if place == "start":
        return f"{words}\n{report}", place
    if place == "own line":
        return "\n".join([*lines[: number + 1], words, *lines[number + 1 :]]), place
    if place == "end of line":
        lines[number] = f"{lines[number]} {words}"
        return "\n".join(lines), place
    if place == "within a sentence":
        ends = [match.start() for match in re.finditer(r"\.(?=\s|$)", report)]
        if ends:
            end = chance.choice(ends)
            return f"{report[:end]}, {words}{report[end:]}", place
    if place == "run into the end":
        return f"{report.rstrip().rstrip('.')} {words}", place
    return f"{report.rstrip()}\n\n{words}", "end"


def _every_sign(mark: str) -> Callable[[str], str]:
    return lambda text: mark.join(text)


def _spaced(text: str) -> str:
    return "  ".join(" ".join(word) for word in text.split())


DISGUISES: Mapping[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "zero_width": _every_sign("\u200b"),
    "bidirectional": _every_sign("\u202d"),
    "tags": lambda text: "".join(chr(0xE0000 + ord(char)) + char for char in text),
    "struck_through": lambda text: "".join(f"{char}\u0336" for char in text),
    "lookalikes": lambda text: text.translate(_LOOKALIKES),
    "full_width": lambda text: text.translate(_FULL_WIDTH),
    "spaced": _spaced,
    "digits": lambda text: text.translate(_DIGITS),
}

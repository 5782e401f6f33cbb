"""What typing, dictating and sending do to a report, without moving a sentence out of its range.

All changes are made to single sentences before they are put together, or replace one blank by
another, so ranges of the text stay exact.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

_LONG_WORD = re.compile(r"\b[A-Za-z]{6,}\b")
_BLANK = re.compile(r" (?=\S)")


@dataclass(frozen=True)
class Habits:
    """One writer's habits, drawn once a report.

    Args:
        typos: share of long words that are misspelt.
        short: share of the words with an abbreviation that are abbreviated.
        case: "", "upper" or "lower".
        stops: sentences end with full stops.
        wrap: characters after which lines are broken; 0: never.
        doubled: share of words that are dictated twice.
        blanks: sentences are parted by two blanks ("  ") or none ("").
    """

    typos: float = 0.0
    short: float = 0.0
    case: str = ""
    stops: bool = True
    wrap: int = 0
    doubled: float = 0.0
    blanks: str = " "


def draw_habits(chance: random.Random) -> Habits:
    """Draw a writer; most write cleanly."""
    return Habits(
        typos=chance.uniform(0.01, 0.06) if chance.random() < 0.3 else 0.0,
        short=0.6 if chance.random() < 0.25 else 0.0,
        case=chance.choices(("", "upper", "lower"), (0.87, 0.07, 0.06))[0],
        stops=chance.random() >= 0.08,
        wrap=chance.randint(50, 90) if chance.random() < 0.15 else 0,
        doubled=0.01 if chance.random() < 0.04 else 0.0,
        blanks=chance.choices((" ", "  ", ""), (0.9, 0.07, 0.03))[0],
    )


def typed(
    text: str,
    habits: Habits,
    chance: random.Random,
    protected: Collection[str],
    abbreviations: Mapping[str, str],
) -> str:
    """Return a sentence as this writer types it.

    Args:
        text: the sentence.
        habits: of the writer.
        chance: of this report.
        protected: words that are never misspelt: those of denial and doubt.
        abbreviations: what stands for a word.
    """
    if habits.short:
        for word, short in abbreviations.items():
            if word in text and chance.random() < habits.short:
                text = re.sub(rf"\b{re.escape(word)}\b", short, text)
    if habits.typos:
        text = _LONG_WORD.sub(
            lambda match: _mistyped(match.group(), habits, chance, protected), text
        )
    if habits.doubled:
        text = re.sub(
            r"\b(the|of|is|at)\b",
            lambda match: " ".join([match.group()] * (1 + (chance.random() < habits.doubled * 8))),
            text,
        )
    if not habits.stops:
        text = text.removesuffix(".")
    return cased(text, habits)


def cased(text: str, habits: Habits) -> str:
    """Return a text in the writer's case."""
    if habits.case == "upper":
        return text.upper()
    return text.lower() if habits.case == "lower" else text


def _mistyped(word: str, habits: Habits, chance: random.Random, protected: Collection[str]) -> str:
    """Swap, drop or double a letter inside a word."""
    if chance.random() >= habits.typos or word.lower() in protected:
        return word
    at = chance.randrange(2, len(word) - 2)
    middle = chance.choice((word[at + 1] + word[at], word[at], word[at] * 2 + word[at + 1]))
    return word[:at] + middle + word[at + 2 :]


def wrapped(text: str, width: int) -> str:
    """Break long lines at blanks; no character moves."""
    if not width:
        return text
    letters = list(text)
    start = 0
    last = -1
    for at, letter in enumerate(text):
        if letter == "\n":
            start, last = at + 1, -1
        elif letter == " ":
            last = at
        if at - start >= width and last > start:
            letters[last] = "\n"
            start, last = last + 1, -1
    return "".join(letters)

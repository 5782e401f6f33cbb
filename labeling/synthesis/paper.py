"""Puts sentences on paper: text grows piece by piece, and every claim keeps its range."""

from __future__ import annotations

from collections.abc import Sequence

from labeling.synthesis.claims import Statement, Written
from labeling.synthesis.noise import Habits, cased, draw_habits, typed, wrapped
from labeling.synthesis.writer import Writer


class Paper:
    """A report while it is written by one writer.

    Args:
        writer: who writes.
        habits: how; None: drawn.
    """

    def __init__(self, writer: Writer, habits: Habits | None) -> None:
        common = writer.wording.common
        self._writer, self._chance = writer, writer.chance
        writer.begin("habits")
        self._habits = habits or draw_habits(writer.chance)
        self._protected = frozenset(common.vocabulary["protected"])
        self._abbreviations = {**common.abbreviations, **writer.wording.own.abbreviations}
        self._pieces: list[str] = []
        self._length = 0
        self.written: list[Written] = []

    def heading(self, text: str) -> None:
        """Write words that claim nothing as they are, in the writer's case."""
        self._put(cased(text, self._habits))

    def blank(self, text: str) -> None:
        """Write blanks, line ends or a bullet."""
        self._put(text)

    def say(self, statement: Statement, *, addendum: bool = False) -> None:
        """Write a sentence and note where its claims stand."""
        self._writer.begin(f"typed {statement.text}")
        text = typed(
            statement.text, self._habits, self._chance, self._protected, self._abbreviations
        )
        start = self._length
        self._put(text)
        span = (start, self._length)
        self.written += [Written(each, span, addendum) for each in statement.claims]

    def say_all(
        self, statements: Sequence[Statement], between: str, *, addendum: bool = False
    ) -> None:
        """Write sentences one after the other; "#" in ``between`` becomes the next number."""
        for number, each in enumerate(statements, 1):
            if number > 1 or between.strip():
                lead = between if number > 1 else between.lstrip("\n ")
                self._put(lead.replace("#", str(number)))
            self.say(each, addendum=addendum)

    @property
    def between(self) -> str:
        """What this writer puts between two sentences of a paragraph."""
        return self._habits.blanks if self._habits.stops else "\n"

    @property
    def apart(self) -> float:
        """How much rather than others this writer gives each sentence a line: without stops."""
        return 1.0 if self._habits.stops else 2.5

    @property
    def text(self) -> str:
        """The report as it stands."""
        return wrapped("".join(self._pieces), self._habits.wrap)

    def _put(self, text: str) -> None:
        self._pieces.append(text)
        self._length += len(text)

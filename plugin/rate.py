"""How far a long piece of work is, how fast it goes, and how long it still takes."""

from __future__ import annotations

from collections.abc import Callable

from plugin.context import Progress

_SPEAK_SECONDS = 1.0


class Rate:
    """Counts reports and says how far it is, at most once a second and at the end.

    Args:
        name: of what works.
        total: how many there are.
        progress: takes each sentence.
        clock: seconds, monotonic.
    """

    def __init__(
        self, name: str, total: int, progress: Progress, clock: Callable[[], float]
    ) -> None:
        self._name, self._total = name, total
        self._progress, self._clock = progress, clock
        self._begun = clock()
        self._spoken = float("-inf")
        self.count = 0

    def done(self) -> None:
        """Count one more."""
        self.count += 1
        now = self._clock()
        if self.count == self._total or now - self._spoken >= _SPEAK_SECONDS:
            self._spoken = now
            self._progress(self.sentence(now))

    def sentence(self, now: float) -> str:
        """Return for example "rules: 50 of 200 reports, 1,200 an hour, 8 min left"."""
        said = f"{self._name}: {self.count} of {self._total} reports"
        seconds = now - self._begun
        if seconds <= 0 or not self.count:
            return said
        an_hour = self.count / seconds * 3600
        left = (self._total - self.count) * seconds / self.count
        return f"{said}, {an_hour:,.0f} an hour, {_in_words(left)} left"


def _in_words(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"

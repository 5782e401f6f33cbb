"""Sentences with a gap for a noun phrase, of the writer's split."""

from __future__ import annotations

from labeling.synthesis.nouns import Noun
from labeling.synthesis.site_names import is_level
from labeling.synthesis.writer import Writer

_OF_LEVELS = "level"


class Frames:
    """One writer's frames: those that fit the schema's sites."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._in_levels = any(is_level(each.id) for each in writer.schema.sites)

    def of(self, kind: str) -> list[str]:
        """Return the frames of a kind (``wording_file.FRAMES``)."""
        found = self._writer.of(self._writer.wording.common.frames[kind])
        return [each for each in found if self._in_levels or _OF_LEVELS not in each]

    def one(self, kind: str) -> str:
        """Draw a frame of a kind."""
        return self._writer.chance.choice(self.of(kind))

    def site_first(self) -> str:
        """Draw a frame that begins with the place."""
        frames = self.of("found_first")
        if not self._in_levels:
            frames = [each for each in frames if each.startswith("{site}")]
        return self._writer.chance.choice(frames)


def filled(frame: str, noun: Noun, at: str, **names: str) -> str:
    """Return a frame with its noun and place."""
    return frame.format(np=noun.text, at=at, **{"is": "are" if noun.plural else "is"}, **names)

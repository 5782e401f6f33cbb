"""The words of the tree's questions: those of a language pack, for one schema."""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass

from labeling.llm.interface import Question
from labeling.places import locations_of
from labeling.token_scores.prompt import PackWords, spoken
from labeling.tree.questions import DIGITS, GRADED, LOCATED, LOCATION, NODES, SEVERITY
from labeling.vocabulary import WHOLE

LABELER = "tree"
"""The name of the labeler, and of its file in a language pack."""

_LETTERS = string.ascii_uppercase
_FINDING = {"finding"}
_KEYS: dict[str, set[str]] = {
    "system": {"title", "open", "close"},
    "stem": {"name", "definition"},
    "at": {"name", "site"},
    **dict.fromkeys((*NODES, GRADED, LOCATED), _FINDING),
    SEVERITY: {"finding", "choices"},
    "choice": {"letter", "meaning"},
    "ungraded": set(),
    LOCATION: {"finding", "place"},
    "yes": set(),
    "no": set(),
    "nothing": set(),
}


@dataclass(frozen=True)
class Wording(PackWords):
    """The words of the tree's questions."""

    LABELER = LABELER
    KEYS = _KEYS

    def question(self, name: str, observation: str, site: str, place: str = "") -> Question:
        """Return a question of the tree.

        Args:
            name: of a node of the tree, or of a detail.
            observation, site: what it asks about.
            place: id of the location that it asks about, where it asks about one.
        """
        finding = self._finding(observation, site)
        if name == SEVERITY:
            return self._severity(finding, observation)
        if name == LOCATION:
            known = {each.id: each.name for each in self.schema.locations}
            return self._yes_no(self._text(name, finding=finding, place=known[place]))
        text = self._text(name, finding=finding)
        if name in NODES and NODES[name].digits:
            return Question(f" {text}", DIGITS)
        return self._yes_no(text)

    def _asked(self, observation: str, site: str) -> Iterator[Question]:
        names = [*NODES, GRADED, LOCATED, *([SEVERITY] if self.asks_severity(observation) else [])]
        yield from (self.question(name, observation, site) for name in names)
        for place in locations_of(self.schema, self.schema.observation(observation)):
            yield self.question(LOCATION, observation, site, place.id)

    def asks_severity(self, observation: str) -> bool:
        """Tell whether an observation has a scale that fits into one question."""
        return 0 < len(self.schema.observation(observation).severities) < len(_LETTERS)

    def asks_location(self, observation: str) -> bool:
        """Tell whether words of place can be said of an observation."""
        return bool(locations_of(self.schema, self.schema.observation(observation)))

    def _severity(self, finding: str, observation: str) -> Question:
        scale = [each.name for each in self.schema.observation(observation).severities]
        meanings = [*scale, self._text("ungraded")]
        letters = tuple(_LETTERS[: len(meanings)])
        choices = " ".join(
            self._text("choice", letter=letter, meaning=meaning)
            for letter, meaning in zip(letters, meanings, strict=True)
        )
        return Question(f" {self._text(SEVERITY, finding=finding, choices=choices)}", letters)

    def _finding(self, observation: str, site: str) -> str:
        name = spoken(self.schema.observation(observation))
        if site == WHOLE:
            return name
        return self._text("at", name=name, site=self.schema.site(site).name)

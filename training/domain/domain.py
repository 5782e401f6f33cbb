"""What the inputs of a model were like, and why another one is not one of them.

Headers are judged first, then pixels: a header can be wrong, and right headers can stand over the
wrong picture. A sentence names what differs in words of this program, never a value of the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from training.domain.facts import FIGURES, TERMS, Facts, fits, in_words
from training.domain.likeness import LEAST, SHARE, Likeness, likeness_of
from training.domain.overview import GROUPS, Overview

UNLIKE = "the image looks unlike what the model learned from"
"""Begins every reason that was found in pixels."""
OUTSIDE = "outside what the model learned from"
"""Begins every reason that was found in headers."""

_DIFFERS = {
    "tone": "its brightness or texture is another",
    "regions": "parts of it are brighter or darker",
    "layout": "other structures lie in it, or they lie elsewhere",
}
_LENGTHS = 1.3  # factor by which a length or time may lie outside of those learned
_COUNTS = 2.0  # the same for numbers of images
_NEARLY_ALL = 0.98
"""Share of the inputs that stated a term or figure from which on another input has to state it.

Inputs like those learned from are then refused for silence no oftener than in one of fifty.
"""


_NAMES = {**TERMS, **FIGURES}


@dataclass(frozen=True)
class Look:
    """What was seen of one study that a model learned from or was validated on.

    ``fold`` is "train", "validation" or "test"; a patient's looks share one.
    """

    patient_key: str
    fold: str
    facts: tuple[Facts, ...]
    overview: Overview


@dataclass(frozen=True)
class Domain:
    """What a model was made for.

    Attributes:
        terms: by key of ``facts.TERMS``, those that headers said; a key that none spoke of lacks.
        ranges: by key of ``facts.FIGURES``, the least and the greatest.
        likeness: of pixels; None: too few inputs, and pixels are not asked.
        record: figures for people, JSON-ready.
        stated: by key, which share of the inputs stated it in all images that were looked at; a
            domain of an earlier version has none, and silence is not held against anything.
    """

    terms: Mapping[str, tuple[str, ...]]
    ranges: Mapping[str, tuple[float, float]]
    likeness: Likeness | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    stated: Mapping[str, float] = field(default_factory=dict)

    @property
    def expected(self) -> tuple[str, ...]:
        """The keys that nearly every input stated: one that does not is another kind of input."""
        return tuple(k for k in _NAMES if self.stated.get(k, 0.0) >= _NEARLY_ALL)

    def unlike_headers(self, facts: Sequence[Facts]) -> str:
        """Return why a series is none that the model was made for, by its headers, or "".

        What a header does not state, or malformed, is held against it where nearly all inputs that
        were learned from stated it.
        """
        for each in facts:
            for key, term in each.terms.items():
                learned = self.terms.get(key, ())
                if learned and not fits(key, term, learned):
                    return f"{OUTSIDE}: {TERMS[key]} is not {in_words(key, learned)}"
            for key, figure in each.figures.items():
                if key in self.ranges and not _inside(key, figure, *self.ranges[key]):
                    low, high = self.ranges[key]
                    return f"{OUTSIDE}: {FIGURES[key]} lies too far from {low:.4g} to {high:.4g}"
        for key in self.expected:
            if not all(_states(each, key) for each in facts):
                return f"{OUTSIDE}: {_NAMES[key]} is not stated"
        return ""

    def unlike_pixels(self, overview: Overview) -> str:
        """Return why pixels are unlike those that the model learned from, or ""."""
        if overview.blank:
            return f"{UNLIKE}: it is blank"
        if self.likeness is None:
            return ""
        if float(self.likeness.leaning([overview])[0]) > self.likeness.turned:
            return f"{UNLIKE}: it may be upside down or mirrored"
        distances = self.likeness.standard([overview])[0]
        most = int(distances.argmax())
        if distances[most] <= self.likeness.threshold:
            return ""
        return (
            f"{UNLIKE}: {_DIFFERS[GROUPS[most]]} "
            f"(distance {distances[most]:.1f}, at most {self.likeness.threshold:.1f})"
        )

    def unlike(self, facts: Sequence[Facts], overview: Overview) -> str:
        """Return why an input is none that the model was made for, or ""; headers first."""
        return self.unlike_headers(facts) or self.unlike_pixels(overview)


def learn_domain(looks: Sequence[Look]) -> Domain:
    """Return what inputs were like.

    Headers are those of the folds "train" and "validation". Pixels are described by "train", and
    the threshold is set where about one in a hundred inputs lies beyond it: by "validation", and by
    parts of "train" as the rest describes them. "test" is only counted.
    """
    train, validation, test = (
        [each for each in looks if each.fold == fold] for fold in ("train", "validation", "test")
    )
    seen = [facts for each in (*train, *validation) for facts in each.facts]
    terms = {key: tuple(sorted({f.terms[key] for f in seen if key in f.terms})) for key in TERMS}
    figures = {key: [f.figures[key] for f in seen if key in f.figures] for key in FIGURES}
    likeness = None
    usable = [each for each in (*train, *validation) if not each.overview.blank]
    held = sum(each.fold == "validation" for each in usable)
    # A threshold is set by inputs that a description has not seen: of another patient.
    judges = held or len({each.patient_key for each in usable}) > 1
    if len(usable) - held >= LEAST and judges:
        likeness = likeness_of(
            [each.overview for each in usable], [each.patient_key for each in usable], held
        )
    found = Domain(
        {key: each for key, each in terms.items() if each},
        {key: (min(each), max(each)) for key, each in figures.items() if each},
        likeness,
        stated=_stated((*train, *validation)),
    )
    record = {
        "inputs": {"train": len(train), "validation": len(validation), "test": len(test)},
        "terms": {key: in_words(key, each) for key, each in found.terms.items()},
        "ranges": {key: list(each) for key, each in found.ranges.items()},
        "threshold": likeness.threshold if likeness else None,
        "threshold_turned": likeness.turned if likeness else None,
        "wanted_share": SHARE,
        "abstained": {"validation": _abstained(found, validation), "test": _abstained(found, test)},
        "expected": [_NAMES[key] for key in found.expected],
        "pixels": "" if likeness else _UNASKED,
    }
    return replace(found, record=record)


_UNASKED = f"not asked: fewer than {LEAST} inputs in train, or all of one patient"


def _stated(looks: Sequence[Look]) -> dict[str, float]:
    """Return by key which share of the inputs stated it."""
    return {
        key: sum(all(_states(f, key) for f in each.facts) for each in looks) / len(looks)
        for key in _NAMES
        if looks
    }


def _states(facts: Facts, key: str) -> bool:
    return key in facts.terms or key in facts.figures


def _abstained(domain: Domain, looks: Sequence[Look]) -> int:
    return sum(bool(domain.unlike(each.facts, each.overview)) for each in looks)


def _inside(key: str, figure: float, low: float, high: float) -> bool:
    factor = _COUNTS if key == "images" else _LENGTHS
    return low / factor <= figure <= high * factor

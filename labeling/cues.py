"""The cues of a language: words that deny, doubt, join and part, for the labeler by rules.

A pack's ``cues.yaml`` has a list for each field of ``Cues``. Every text is a regular expression
without groups of its own, matched without regard to case; a blank stands for any white space.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

from dicom_node.reports.headings import Headings
from dicom_node.reports.kinds import Kind
from labeling.located_yaml import Entry


@dataclass(frozen=True)
class Cues:
    """What is around the name of a finding and decides how it is meant.

    Args:
        denials: deny what follows ("no", "without").
        pseudo_negations: hold a denial and deny nothing ("no change").
        denials_after: deny what precedes ("is not seen").
        denials_after_stop: words beyond which such a denial speaks of something else.
        denials_after_colon: the answer in "Stenosis: none".
        strong_degrees: "no severe stenosis" leaves room for a mild one.
        hedges: doubt what follows; ``hedges_after`` what precedes. A question mark always does.
        not_claimed: nothing is said about the patient's present state ("history of").
        boundaries: a new statement begins, denials and doubts end.
        soft_boundaries: the same unless a list goes on, which ``list_words`` tell.
        tail_ends: end what may be said of a finding behind it.
        clause_breaks: part the clauses of a sentence, to tell whose level is whose;
            ``weak_breaks`` do so only behind a finding.
        changes: a degree before one of these is one of change, not of the finding.
        prepositions: tie a finding to the level behind it.
        level_openings: may stand before a level that opens a sentence.
        level_nouns: "level", "disc": a level with no more than these is a headline.
        turns_away: turn from the level under discussion to something else.
        normal: say that nothing is wrong; ``stable`` that nothing changed.
        since: since when it did not change; ``filler`` may stand around both.
        level_joins: join levels of a list; the first is the plain "and".
        level_ranges: fill a range of levels ("to").
        level_over: join the two vertebrae of a slip ("L4 on L5").
        level_all: all levels; ``level_remaining`` those not named before.
        level_except: part of "all levels except".
        level_above, level_below: "above L3-L4".
        level_vague: speak of levels without the names of any ("the lower two discs"): which are
            meant is left to whoever reads on.
    """

    denials: tuple[str, ...]
    pseudo_negations: tuple[str, ...]
    denials_after: tuple[str, ...]
    denials_after_stop: tuple[str, ...]
    denials_after_colon: tuple[str, ...]
    strong_degrees: tuple[str, ...]
    hedges: tuple[str, ...]
    hedges_after: tuple[str, ...]
    not_claimed: tuple[str, ...]
    boundaries: tuple[str, ...]
    soft_boundaries: tuple[str, ...]
    list_words: tuple[str, ...]
    tail_ends: tuple[str, ...]
    clause_breaks: tuple[str, ...]
    weak_breaks: tuple[str, ...]
    changes: tuple[str, ...]
    prepositions: tuple[str, ...]
    level_openings: tuple[str, ...]
    level_nouns: tuple[str, ...]
    turns_away: tuple[str, ...]
    normal: tuple[str, ...]
    stable: tuple[str, ...]
    since: tuple[str, ...]
    filler: tuple[str, ...]
    level_joins: tuple[str, ...]
    level_ranges: tuple[str, ...]
    level_over: tuple[str, ...]
    level_all: tuple[str, ...]
    level_remaining: tuple[str, ...]
    level_except: tuple[str, ...]
    level_above: tuple[str, ...]
    level_below: tuple[str, ...]
    level_vague: tuple[str, ...]


def read_cues(top: Entry) -> Cues:
    """Return the cues of a file; each list must be there, and may be empty.

    Raises:
        the error of ``top``: names file, line and key.
    """
    found = top.fields({each.name for each in fields(Cues)})
    return Cues(**{name: _patterns(entry) for name, entry in found.items()})


def read_headings(top: Entry) -> Headings:
    """Return the headings of a file; what may stand in it is said by ``Headings``.

    Raises:
        the error of ``top``: names file, line and key.
    """
    found = top.fields({"headings"}, {"in_line", "leading", "claims", "without_prior", "summary"})
    lists = {key: _patterns(found[key]) for key in found.keys() - _BY_KIND}
    return Headings(
        headings=_by_kind(found["headings"]),
        in_line=_by_kind(found["in_line"]) if "in_line" in found else {},
        leading=_by_kind(found["leading"]) if "leading" in found else {},
        **lists,
    )


_BY_KIND = {"headings", "in_line", "leading"}


def one_of(patterns: tuple[str, ...]) -> str:
    """Join alternatives, each as it stands; nothing is matched where there are none."""
    joined = "|".join(f"(?:{pattern})" for pattern in patterns).replace(" ", r"\s+")
    return f"(?:{joined})" if joined else r"(?!)"


def word_of(patterns: tuple[str, ...]) -> str:
    """Join alternatives that begin and end with words."""
    return rf"\b{one_of(patterns)}\b"


def _by_kind(entry: Entry) -> dict[Kind, tuple[str, ...]]:
    kinds = {str(kind) for kind in Kind}
    return {Kind(name): _patterns(each) for name, each in entry.fields(set(), kinds).items()}


def _patterns(entry: Entry) -> tuple[str, ...]:
    return tuple(_pattern(item) for item in entry.items())


def _pattern(entry: Entry) -> str:
    text = entry.text()
    try:
        compiled = re.compile(text)
    except re.error as error:
        raise entry.refuse(f"not a regular expression: {error.msg}") from error
    if compiled.groups:
        raise entry.refuse("a group must not capture: write (?: instead of (")
    if compiled.fullmatch(""):
        raise entry.refuse("matches nothing at all, and so everywhere")
    return text

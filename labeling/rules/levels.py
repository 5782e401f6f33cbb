"""Finds which disc levels a piece of a report speaks of.

Discs are numbered by the vertebra above them. A level outside the schema (T12-L1, C5-C6) is found
too, so that its findings are not taken for those of the levels that the schema knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from labeling.cues import Cues, one_of, word_of
from labeling.language import english_cues
from labeling.vocabulary import LabelSchema

_ORDER = [*(f"C{n}" for n in range(1, 8)), *(f"T{n}" for n in range(1, 13)),
          *(f"L{n}" for n in range(1, 6)), "S1"]  # fmt: skip
_PLACE = {name: index for index, name in enumerate(_ORDER)}
_VERTEBRA = r"(?:[LTCD]\s?1[0-2]|[LTCD]\s?[1-9]|S\s?1)"
_ALONE = re.compile(rf"(?<!\w){_VERTEBRA}(?!\d)", re.IGNORECASE)
_NUMBER = r"(?:1[0-2]|[1-9])"
_LOOK_BACK = 40

# "... L3/4, 4/5 and 5/1": a bare pair counts only after a level.
_BARE = r"(?P<first>[1-5])\s?[-–/]\s?(?P<second>[1-5]|S\s?1)(?!\d|[/.]\d)"
# "L4 and L5 are aligned": two neighbours mean the disc between them.
_NEIGHBOUR = r"(?<![\w\-/–])(?P<first>[LTC]\s?\d{1,2})"
_NEXT_NEIGHBOUR = r"(?P<second>[LTCS]\s?\d{1,2})(?!\s?[-/–]|\d)"


class _LevelPatterns:
    """How a language writes levels; the names of vertebrae are the same in all."""

    def __init__(self, cues: Cues) -> None:
        over, ranges = one_of(cues.level_over), one_of(cues.level_ranges)
        joins, fillers = one_of(cues.level_joins), one_of(cues.level_openings)
        # "L4-L5", "L4/5", "L4L5", "L4-5", "L4 on L5", and chains: "L3/4/5".
        self.pair = _compiled(
            rf"\b(?P<first>{_VERTEBRA})"
            rf"(?P<rest>(?:\s?(?:[-–—/]|\s{over}\s)\s?(?:{_VERTEBRA}|{_NUMBER}(?!\d|\.\d|\s?[mc]m))"
            rf"|(?<=\d){_VERTEBRA})+)(?!\d)"
        )
        self.neighbours = _compiled(
            rf"{_NEIGHBOUR}\s+{one_of(cues.level_joins[:1])}\s+{_NEXT_NEIGHBOUR}"
        )
        self.bare_pair = _compiled(rf"\s*(?:,|{joins})+\s*{_BARE}")
        self.span = _compiled(
            rf"\b(?P<first>{_VERTEBRA})\s+{ranges}\s+(?P<second>{_VERTEBRA})\b(?!\s?[-/])"
        )
        # What is repeated gives nothing back ("*+"): a report of "at the at the ..." would be
        # parted in two ways at each step.
        self.joined = _compiled(rf"\s*(?:,|{joins}|,\s*{joins})\s*(?:{fillers}\s+)*+")
        self.through = _compiled(rf"\s*{ranges}\s+")
        self.all = _compiled(word_of(cues.level_all))
        self.remaining = _compiled(rf"\b{one_of(cues.level_remaining)}(?!\w)")
        nouns = one_of(cues.level_nouns)
        self.excepted = _compiled(
            rf"\s*(?:{nouns})?,?\s*{one_of(cues.level_except)}(?:\s+(?:for|{fillers}))*+\s*"
        )
        self.vague = _compiled(word_of(cues.level_vague))
        # A pair with what it is a pair of: "L4-L5 and L5-S1 discs" leaves nothing open.
        self.tied = _compiled(rf"{self.pair.pattern}(?:\s+{nouns})?")
        self.above = _compiled(_side(cues.level_above))
        self.below = _compiled(_side(cues.level_below))


def _side(words: tuple[str, ...]) -> str:
    return rf"\b{one_of(words)}\s+(?:the\s+)?(?:level\s+of\s+)?$"


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


@dataclass(frozen=True)
class Mention:
    """A group of levels named together; ``sites`` is empty where the schema has none of them."""

    start: int
    end: int
    sites: frozenset[str]
    all: bool = False  # "all levels"
    remaining: bool = False  # "the remaining levels": what the section has not named so far
    other_region: bool = False  # cervical or thoracic: not what the schema is about


class LevelFinder:
    """Finds mentions of the sites of a schema; disc sites are those named like ``L4-L5``.

    ``cues`` are those of the report's language; English where none are given.
    """

    def __init__(self, schema: LabelSchema, cues: Cues | None = None) -> None:
        self._patterns = _LevelPatterns(cues or english_cues())
        self._sites = tuple(site.id for site in schema.sites)
        self._discs = {
            _PLACE[upper]: f"{upper}-{lower}"
            for upper, lower in (s.split("-", 1) for s in self._sites if s.count("-") == 1)
            if _PLACE.get(lower) == _PLACE.get(upper, -9) + 1
        }
        names = {
            name.lower(): site.id
            for site in schema.sites
            for name in (site.id, site.name, *site.synonyms)
        }
        self._names = names
        longest_first = sorted(names, key=len, reverse=True)
        self._name = re.compile(
            rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)" if names else r"(?!)",
            re.IGNORECASE,
        )

    def named(self, text: str) -> frozenset[str]:
        """Return the sites that ``text`` may speak of: those it names, or all where it is vague.

        A vertebra named alone stands for the discs on both sides of it, and so do two that are
        joined ("L4 and L5 roots"). A site that is no disc level counts as named: its names are
        freer than any list.
        """
        every = frozenset(self._sites)
        if not self._discs:
            return every
        mentions = self.find(text)
        rest = self._patterns.tied.sub(" ; ", text)
        if any(each.remaining or each.all for each in mentions) or self._patterns.vague.search(
            rest
        ):
            return every
        places = {
            place for match in self._patterns.pair.finditer(text) for place in _chain(match.group())
        }
        for match in _ALONE.finditer(rest):
            if (place := _vertebra(match.group())) is not None:
                places |= {place - 1, place}
        named = {self._discs[place] for place in places if place in self._discs}
        return (every - set(self._discs.values())).union(named, *(m.sites for m in mentions))

    def find(self, text: str) -> list[Mention]:
        """Return the groups of levels in ``text``, in order; neighbours in a list are one group."""
        single = sorted(self._single(text), key=lambda each: (each.start, -each.end))
        groups: list[Mention] = []
        for mention in single:
            if groups and mention.start < groups[-1].end:
                continue
            if (
                groups
                and groups[-1].all
                and self._patterns.excepted.fullmatch(text[groups[-1].end : mention.start])
            ):
                groups[-1] = replace(groups[-1], sites=groups[-1].sites - mention.sites)
            if groups and (joined := self._join(text, groups[-1], mention)):
                groups[-1] = joined
            else:
                groups.append(mention)
        return groups

    def _single(self, text: str) -> Iterator[Mention]:
        for match in self._patterns.all.finditer(text):
            yield Mention(match.start(), match.end(), frozenset(self._sites), all=True)
        for match in self._patterns.remaining.finditer(text):
            yield Mention(match.start(), match.end(), frozenset(), remaining=True)
        for match in self._patterns.span.finditer(text):
            first, last = _vertebra(match["first"]), _vertebra(match["second"])
            if first is not None and last is not None and first < last:
                yield self._mention(match.start(), match.end(), range(first, last))
        for match in self._patterns.neighbours.finditer(text):
            first, last = _vertebra(match["first"]), _vertebra(match["second"])
            if first is not None and last == first + 1:
                yield self._mention(match.start(), match.end(), [first])
        for match in self._patterns.pair.finditer(text):
            yield from self._pair(text, match)
        for match in self._name.finditer(text):
            site = self._names[match.group().lower()]
            yield Mention(match.start(), match.end(), frozenset({site}))

    def _pair(self, text: str, match: re.Match[str]) -> Iterator[Mention]:
        places = _chain(match.group())
        if not places:
            return
        start, end, discs = match.start(), match.end(), set(places)
        while bare := self._patterns.bare_pair.match(text, end):
            more = _chain(f"L{bare['first']}/{bare['second']}")
            if not more:
                break
            discs |= set(more)
            end = bare.end()
        start, discs = self._beyond(text, start, discs)
        yield self._mention(start, end, discs)

    def _beyond(self, text: str, start: int, discs: set[int]) -> tuple[int, set[int]]:
        """Return the levels that "above L3-L4" or "below" means, and where those words begin."""
        if not self._discs:
            return start, discs
        near = max(0, start - _LOOK_BACK)
        if side := self._patterns.above.search(text[near:start]):
            return near + side.start(), set(range(min(self._discs), min(discs)))
        if side := self._patterns.below.search(text[near:start]):
            return near + side.start(), set(range(max(discs) + 1, max(self._discs) + 1))
        return start, discs

    def _mention(self, start: int, end: int, discs: Iterable[int]) -> Mention:
        discs = list(discs)
        sites = frozenset(self._discs[disc] for disc in discs if disc in self._discs)
        near = not self._discs or any(disc >= min(self._discs) - 1 for disc in discs)
        return Mention(start, end, sites, other_region=bool(discs) and not sites and not near)

    def _join(self, text: str, first: Mention, second: Mention) -> Mention | None:
        """Join "L3-L4, L4-L5 and L5-S1", and fill the range of "L1-L2 to L3-L4"."""
        if first.remaining or second.remaining or first.all or second.all:
            return None
        between = text[first.end : second.start]
        if self._patterns.through.fullmatch(between) and first.sites and second.sites:
            indices = [self._sites.index(site) for site in first.sites | second.sites]
            sites = frozenset(self._sites[min(indices) : max(indices) + 1])
        elif self._patterns.joined.fullmatch(between) or between.strip() == "":
            sites = first.sites | second.sites
        else:
            return None
        return Mention(
            first.start,
            second.end,
            sites,
            other_region=first.other_region and second.other_region,
        )


def _vertebra(text: str, region: str = "") -> int | None:
    name = re.sub(r"\s", "", text).upper().replace("D", "T")
    return _PLACE.get(name if name[:1].isalpha() else region + name)


def _chain(text: str) -> list[int]:
    """Return the discs of "L4/5", "L3-L5" or "L3/4/5", each as the place of its upper vertebra."""
    parts = re.findall(rf"{_VERTEBRA}|{_NUMBER}", text, re.IGNORECASE)
    region = parts[0][:1].upper().replace("D", "T")
    places: list[int] = []
    for part in parts:
        place = _vertebra(part, region)
        if place is not None and places and place <= places[-1] and part == "1":
            place = {"L": _PLACE["S1"], "T": _PLACE["L1"], "C": _PLACE["T1"]}.get(region)
        if place is None or (places and place <= places[-1]):
            break  # "L1/L2 - L1 and L2 are aligned": the header ends here
        places.append(place)
    return list(range(places[0], places[-1])) if len(places) > 1 else []

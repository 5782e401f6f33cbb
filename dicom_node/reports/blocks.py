"""The text of a report as blocks: what was sent in one OBX each, and what follows from its role.

Blocks are put together to the text of a version. The section finder reads the text; what an OBX
says about its role counts where the text itself has no heading.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from dicom_node.hl7.parsed import Role
from dicom_node.reports.sections import READ, Kind, Section, find_sections
from dicom_node.reports.status import EFFECTS, Effect


@dataclass(frozen=True, slots=True)
class Block:
    """The text of one OBX.

    ``role`` says what the text is in the report. ``key`` names the OBX at its sender: the role that
    it was sent with (a suffix of OBX-3), OBX-3 and OBX-4.
    """

    text: str
    role: Role
    key: tuple[Role, str, str]
    status: str  # table 0123

    @property
    def sub_id(self) -> str:
        """OBX-4."""
        return self.key[2]


def final(blocks: Iterable[Block]) -> tuple[Block, ...]:
    """Return the blocks with what is provisional made final."""
    return tuple(
        replace(block, status="F") if EFFECTS.get(block.status) is Effect.PROVISIONAL else block
        for block in blocks
    )


_ROLE_KINDS = {Role.IMPRESSION: Kind.IMPRESSION, Role.ADDENDUM: Kind.ADDENDUM}
_ADDENDUM_HEADING = re.compile(
    r"^\W*addend(?:um|a)\b(?:[ \t]*#?\d+)?[ \t]*[:：-]?\s*", re.IGNORECASE
)
_BETWEEN_LINES = "\n"
_BETWEEN_ROLES = "\n\n"  # a blank line ends an unread section, so what follows it is read


def any_text(blocks: Iterable[Block]) -> bool:
    """Tell whether a block holds more than blanks."""
    return any(block.text.strip() for block in blocks)


def _runs(blocks: Sequence[Block]) -> list[tuple[Role, str]]:
    """Join neighbours of one role, line by line, without blank lines around them."""
    runs: list[tuple[Role, list[str]]] = []
    for block in blocks:
        if runs and runs[-1][0] is block.role:
            runs[-1][1].append(block.text)
        else:
            runs.append((block.role, [block.text]))
    joined = ((role, _BETWEEN_LINES.join(lines).strip("\r\n")) for role, lines in runs)
    return [(role, text) for role, text in joined if text.strip()]


def join_text(blocks: Sequence[Block]) -> str:
    """Return the text of a version: the blocks in order, those of another role set off."""
    return _BETWEEN_ROLES.join(text for _role, text in _runs(blocks))


def join_sections(blocks: Sequence[Block]) -> tuple[Section, ...]:
    """Return the sections of :func:`join_text`, which together cover it without gap or overlap."""
    found: list[Section] = []
    offset = 0
    runs = _runs(blocks)
    for number, (role, text) in enumerate(runs, start=1):
        end = len(text) + (len(_BETWEEN_ROLES) if number < len(runs) else 0)
        for each in _sections_of(role, text, end):
            found.append(_shift(each, offset))
        offset += end
    return tuple(found)


def _sections_of(role: Role, text: str, end: int) -> Iterator[Section]:
    """Yield the sections of one run; the last reaches up to the next run."""
    sections = find_sections(text)
    for each in sections:
        kind = _kind(role, each.kind)
        last = end if each is sections[-1] else each.end
        yield Section(kind, each.start, last, each.body)


def _kind(role: Role, kind: Kind) -> Kind:
    wanted = _ROLE_KINDS.get(role)
    if wanted is None:
        return kind
    if role is Role.ADDENDUM and kind in READ:
        return wanted
    return wanted if kind in (Kind.BODY, Kind.TITLE) else kind


def _shift(section: Section, offset: int) -> Section:
    return replace(
        section,
        start=section.start + offset,
        end=section.end + offset,
        body=section.body + offset,
    )


@lru_cache(maxsize=256)
def lines_of(text: str) -> str:
    """Return the lines that hold words, each between line feeds, to compare texts by.

    Blanks count once, and a heading that only says "addendum" does not count.
    """
    lines = (_ADDENDUM_HEADING.sub("", " ".join(line.split())) for line in text.splitlines())
    return "".join(f"\n{line}\n" for line in lines if line)


def says_already(text: str, addition: str) -> bool:
    """Tell whether a text holds an addition: all of its lines, whole and one after the other.

    Parts of lines do not count: "fracture" is not said by "no fracture".
    """
    return lines_of(addition) in lines_of(text)


def has_addendum(text: str) -> bool:
    """Tell whether a text has an addendum under a heading of its own."""
    return any(each.kind is Kind.ADDENDUM for each in find_sections(text))

"""The addenda of a report: those sent with it, and those that are documents of their own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from dicom_node.hl7.parsed import ParsedReport, ReportPart
from dicom_node.reports.blocks import Block, any_text, final, has_addendum, join_text, lines_of
from dicom_node.reports.parts import Split, delete, names


@dataclass(frozen=True, slots=True)
class Addendum:
    """Text that was added; ``number`` names its document, empty where it has none of its own."""

    number: str
    blocks: tuple[Block, ...]
    report: ParsedReport

    @property
    def text(self) -> str:
        """The text alone."""
        return join_text(self.blocks)


Addenda = tuple[Addendum, ...]

MAXIMUM_ADDENDA = 50
"""Of one report; what comes after them is left out, and the report is not final."""


def put(addenda: Addenda, added: Addendum) -> Addenda:
    """Add an addendum that is a document, or put it in the place of its earlier text."""
    if all(each.number != added.number for each in addenda):
        return (*addenda, added)
    return tuple(added if each.number == added.number else each for each in addenda)


def remove(addenda: Addenda, number: str) -> Addenda:
    """Leave a document out."""
    return tuple(each for each in addenda if each.number != number)


def delete_parts(
    addenda: Addenda, number: str, deleted: Iterable[ReportPart]
) -> tuple[Addenda, tuple[ReportPart, ...]]:
    """Leave deleted parts of one document out; return also the deletions that found nothing."""
    kept: list[Addendum] = []
    missed = tuple(deleted)
    for each in addenda:
        if each.number == number:
            blocks, left = delete(each.blocks, deleted)
            missed = tuple(part for part in missed if part in left)
            each = replace(each, blocks=blocks)
        if any_text(each.blocks):
            kept.append(each)
    return tuple(kept), missed


def make_final(addenda: Addenda, number: str) -> Addenda:
    """Make the text of one document final."""
    return tuple(
        replace(each, blocks=final(each.blocks)) if each.number == number else each
        for each in addenda
    )


def named_inside(addenda: Addenda, part: ReportPart) -> bool:
    """Tell whether a part means an addendum that was sent with the report itself."""
    return any(not each.number and names(part, each.blocks) for each in addenda)


def remove_inside(addenda: Addenda, parts: Sequence[ReportPart]) -> Addenda:
    """Leave out what the parts mean of the addenda that were sent with the report itself."""
    return tuple(
        each
        for each in addenda
        if each.number or not any(names(part, each.blocks) for part in parts)
    )


def survive(addenda: Addenda, stated: Sequence[Block], parts: Split) -> Addenda:
    """Return the addenda that stay when the text of the report is stated anew.

    Those sent with the report go where the new text has an addendum under a heading of its own,
    or where the message sends, deletes or withdraws what they are named.
    """
    if not addenda:
        return ()
    own = has_addendum(join_text(stated))
    sent_again = {block.key for block in parts.added}
    kept = remove_inside(addenda, (*parts.deleted, *parts.withdrawn))
    return tuple(
        each
        for each in kept
        if each.number or not (own or any(block.key in sent_again for block in each.blocks))
    )


def append(
    addenda: Addenda, added: Sequence[Block], report: ParsedReport, *, corrects: bool
) -> Addenda:
    """Add what a message of the report itself adds; the same text is not added twice.

    Args:
        addenda: what was added before.
        added: the blocks; neighbours of one name are one addendum.
        report: the message.
        corrects: whether a block may be another text of an addendum that is there. OBX-4 names
            an addendum for good; without it only a correction (C) means the last of its name.
    """
    for blocks in _grouped(added):
        addition = Addendum("", blocks, report)
        if not any_text(blocks) or any(_same(each, addition) for each in addenda if each.number):
            continue
        at = _place(addenda, addition, corrects)
        addenda = (*addenda[:at], addition, *addenda[at + 1 :])
    return addenda


def _grouped(blocks: Sequence[Block]) -> list[tuple[Block, ...]]:
    groups: list[list[Block]] = []
    for block in blocks:
        if groups and groups[-1][0].key == block.key:
            groups[-1].append(block)
        else:
            groups.append([block])
    return [tuple(group) for group in groups]


def _place(addenda: Addenda, addition: Addendum, corrects: bool) -> int:
    """Return where an addition goes: the place of its earlier text, else behind the others."""
    inside = [at for at, each in enumerate(addenda) if not each.number]
    for at in inside:
        if _same(addenda[at], addition):
            return at
    first = addition.blocks[0]
    if corrects and (first.sub_id or first.status == "C"):
        for at in reversed(inside):
            if any(block.key == first.key for block in addenda[at].blocks):
                return at
    return len(addenda)


def _same(one: Addendum, other: Addendum) -> bool:
    return lines_of(one.text) == lines_of(other.text)

"""The parts of one message by what their status does (OBR-25 and OBX-11 together)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from dicom_node.hl7.parsed import DocumentAction, ParsedReport, ReportPart, Role
from dicom_node.reports.blocks import Block, any_text
from dicom_node.reports.status import (
    Action,
    Effect,
    least_final,
    observation_meaning,
    result_meaning,
)

_RECHECKED = frozenset({"A", "V"})  # table 0085: amended for demographics, verified


@dataclass(frozen=True, slots=True)
class Split:
    """The parts of a message; those that bring text as blocks."""

    whole: Action  # what OBR-25 does
    stated: tuple[Block, ...] = ()  # text of the report itself
    added: tuple[Block, ...] = ()  # text to be added to it
    promoted: tuple[ReportPart, ...] = ()
    deleted: tuple[ReportPart, ...] = ()
    withdrawn: tuple[ReportPart, ...] = ()
    rechecked: bool = False  # an OBX without text says that it was verified or amended

    @property
    def states_text(self) -> bool:
        """Whether the message brings the text of the report itself."""
        return any_text(self.stated)

    @property
    def promotes(self) -> bool:
        """Whether the message makes earlier text final."""
        return self.whole is Action.PROMOTE or bool(self.promoted)


def split(report: ParsedReport) -> Split:
    """Sort the parts of a message by what is to be done with them.

    Where OBR-25 says that there is no result, only deletions and withdrawals are left.
    """
    whole = result_meaning(report.result_status)
    sorted_parts: dict[Action, list[ReportPart]] = {action: [] for action in Action}
    for part in report.parts:
        sorted_parts[_action(part, whole.action)].append(part)
    found = Split(
        whole=whole.action,
        deleted=tuple(sorted_parts[Action.DELETE]),
        withdrawn=tuple(sorted_parts[Action.WITHDRAW]),
    )
    if whole.action is Action.NOTHING:
        return found
    text = sorted_parts[Action.STATE]
    apart = [part for part in text if part.role is Role.ADDENDUM]
    added = {id(part) for part in (*sorted_parts[Action.APPEND], *apart)}
    return replace(
        found,
        stated=tuple(_block(part, whole.status) for part in text if id(part) not in added),
        added=tuple(_addition(part, whole.status) for part in report.parts if id(part) in added),
        promoted=tuple(sorted_parts[Action.PROMOTE]),
        rechecked=any(part.status in _RECHECKED and not part.text.strip() for part in text),
    )


def takes_back(report: ParsedReport) -> Effect | None:
    """Tell whether a message takes its whole document back, and how."""
    if report.action is DocumentAction.CANCEL:
        return Effect.RETRACT
    by_action = {Action.WITHDRAW: Effect.WITHDRAW, Action.RETRACT: Effect.RETRACT}
    return by_action.get(result_meaning(report.result_status).action)


def names(part: ReportPart, blocks: Iterable[Block]) -> bool:
    """Tell whether a part without text means one of the blocks."""
    return any(block.key == key_of(part) for block in blocks)


def key_of(part: ReportPart) -> tuple[Role, str, str]:
    """Return what names an OBX at its sender: role, OBX-3 and OBX-4."""
    return part.role, part.identifier, part.sub_id


def delete(
    blocks: Iterable[Block], deleted: Iterable[ReportPart]
) -> tuple[tuple[Block, ...], tuple[ReportPart, ...]]:
    """Return the blocks that are left, and the deletions that found none.

    A deletion that repeats the text of a block means that one; else all that have its name.
    """
    kept = list(blocks)
    missed: list[ReportPart] = []
    for part in deleted:
        named = [block for block in kept if block.key == key_of(part)]
        text = part.text.strip()
        gone = [block for block in named if text and block.text.strip() == text] or named
        if not gone:
            missed.append(part)
        kept = [block for block in kept if all(block is not each for each in gone)]
    return tuple(kept), tuple(missed)


def _action(part: ReportPart, whole: Action) -> Action:
    action = observation_meaning(part.status).action
    if action is Action.PROMOTE and part.text.strip():
        return Action.STATE  # sent again after all
    if action is Action.STATE and whole is Action.APPEND:
        return Action.APPEND
    return action


def _block(part: ReportPart, whole: str) -> Block:
    own = observation_meaning(part.status).status
    status = least_final(each for each in (whole, own) if each)
    return Block(part.text, part.role, key_of(part), status)


def _addition(part: ReportPart, whole: str) -> Block:
    return replace(_block(part, whole), role=Role.ADDENDUM)

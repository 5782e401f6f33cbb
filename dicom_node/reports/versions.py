"""The version chain of a report: what was sent when, and which version holds now.

Messages arrive late, twice and out of order. The chain is computed anew from all that was sent, in
the order of its own times: status change (OBR-22), message (MSH-7), then arrival. So a late older
version is kept and never becomes current, and arrival changes nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from dicom_node.hl7.parsed import DocumentAction, ParsedReport
from dicom_node.hl7.text import ContentFault
from dicom_node.hl7.times import comparable
from dicom_node.reports.addenda import Addendum
from dicom_node.reports.blocks import Block, any_text, join_sections, join_text, says_already
from dicom_node.reports.chain import Ignored, State, apply
from dicom_node.reports.naming import contradiction, join_patients
from dicom_node.reports.parts import split, takes_back
from dicom_node.reports.sections import Section
from dicom_node.reports.status import EFFECTS, INCOMPLETE, NOT_VERIFIED, Effect, least_final

_CLOSED = {Effect.WITHDRAW: "W", Effect.RETRACT: "X", Effect.PROMOTE: "U"}
_CONTESTED = "the report was taken back by a message that is dated before this text but sent after"


@dataclass(frozen=True, slots=True)
class Input:
    """One report of one message.

    Args:
        key: names the input; of two with the same key one counts.
        received: when it came, as text whose order is the order of time.
        report: what it says; embedded documents are text already.
    """

    key: int
    received: str
    report: ParsedReport


@dataclass(frozen=True, slots=True)
class Version:
    """What a report says from one of its messages on.

    ``report`` holds patient, accession numbers and studies as they are known then (the patients of
    all text that is part of the version), and the times of the message that made the version.
    """

    input_key: int
    status: str  # table 0123; W, X and U: there is no text
    effect: Effect
    text: str
    report: ParsedReport
    reason: str  # what the message did, or why the text is not final; empty where it is plain
    blocks: tuple[Block, ...] = ()

    @property
    def sections(self) -> tuple[Section, ...]:
        """The sections of the text, which together cover it; found when they are asked for."""
        return join_sections(self.blocks) if self.text else ()


@dataclass(frozen=True, slots=True)
class Chain:
    """The versions of a report, the current one last, and the inputs that made none, with why."""

    versions: tuple[Version, ...]
    ignored: dict[int, str]


def fold(inputs: Sequence[Input]) -> tuple[Version, ...]:
    """Return the versions of a report in the order of their own times; the last one is current.

    The result depends on the set of inputs alone. An input that changes nothing makes no version.
    """
    return trace(inputs).versions


def trace(inputs: Sequence[Input]) -> Chain:
    """Return the versions of a report, and why other inputs made none."""
    ordered = sorted({each.key: each for each in inputs}.values(), key=_order)
    addenda = addendum_numbers([each.report for each in ordered])
    taken_back = [
        each.report
        for each in ordered
        if takes_back(each.report) and each.report.number not in addenda
    ]
    state = State()
    versions: list[Version] = []
    ignored: dict[int, str] = {}
    for each in ordered:
        doubted = state.doubt
        try:
            addendum = each.report.number in addenda
            state, said = apply(state, each.report, addendum=addendum)
        except Ignored as reason:
            ignored[each.key] = str(reason)
            continue
        if not addendum and _contested(each.report, taken_back) and state.base:
            state = replace(state, doubt=_CONTESTED)
        version = _version(each, state, said)
        if versions and _content(versions[-1]) == _content(version):
            new = state.doubt if state.doubt != doubted else ""
            ignored[each.key] = new or "the message says nothing new"
        else:
            versions.append(version)
    return Chain(tuple(versions), ignored)


def _contested(report: ParsedReport, taken_back: Sequence[ParsedReport]) -> bool:
    """Tell whether a text was taken back by a message sent after it but dated before it.

    The sender may have left OBR-22 as it was, or the message may be one of before sent again; the
    latter is plain where the first sending is there too.
    """
    if not split(report).states_text:
        return False
    sent, dated = comparable(report.message_time), comparable(report.status_changed_at)
    suspects = [
        each
        for each in taken_back
        if comparable(each.status_changed_at) and comparable(each.status_changed_at) < dated
    ]
    first = [each.status_changed_at for each in suspects if comparable(each.message_time) <= sent]
    return any(
        comparable(each.message_time) > sent and each.status_changed_at not in first
        for each in suspects
    )


def chain_identity(sender: str, report: ParsedReport, known: Callable[[str], str | None]) -> str:
    """Return the identity of the chain that a report belongs to: sender and number of its root.

    Args:
        sender: MSH-3 and MSH-4.
        report: what was sent.
        known: gives the chain of a document (sender and its own number) that was sent before, or
            the document that it names as its parent; None where there is neither.

    Raises:
        ContentFault: nothing names the report.
    """
    number = report.parent_number or report.number
    if not number:
        raise ContentFault("OBR", 3, 101, "neither filler order nor accession number is given")
    identity = f"{sender}|{number}"
    seen = {identity}
    while (further := known(identity)) is not None and further not in seen:
        identity = further
        seen.add(identity)
    return identity


def _order(sent: Input) -> tuple[str, str, int, str, int]:
    """Return what orders the inputs.

    At one and the same time, what refers to earlier text follows text, and what takes back comes
    last. A cancelled document counts by its message: TXA-22 is when its text was signed.
    """
    report = sent.report
    message = comparable(report.message_time)
    changed = comparable(report.status_changed_at) or message
    if report.action is DocumentAction.CANCEL:
        changed = max(changed, message)
    return changed, message, _rank(report), sent.received, sent.key


def _rank(report: ParsedReport) -> int:
    parts = split(report)
    if takes_back(report) or parts.withdrawn:
        return 2
    return 0 if parts.states_text else 1


def addendum_numbers(reports: Iterable[ParsedReport]) -> frozenset[str]:
    """Return the documents that are addenda, by what all messages say about them together."""
    added: set[str] = set()
    whole: set[str] = set()
    perhaps: set[str] = set()
    parents: dict[str, str] = {}
    for each in reports:
        parent = each.parent_number if each.parent_number != each.number else ""
        if each.action is DocumentAction.ADDENDUM and parent:
            added.add(each.number)
        elif each.action is DocumentAction.REPLACE:
            parents[each.number] = parent
        elif each.action is DocumentAction.ADD:
            whole.add(each.number)
        elif parent:
            perhaps.add(each.number)
    found = added | (perhaps - whole - parents.keys())
    pending = dict(parents)
    while more := {number for number, parent in pending.items() if parent in found} - found:
        found |= more
    return frozenset(found)


def _version(sent: Input, state: State, said: str) -> Version:
    included, doubt = _included(state)
    blocks: tuple[Block, ...] = ()
    if state.closed is None:
        blocks = (*state.base, *(block for each in included for block in each.blocks))
    doubt = state.doubt or doubt
    status = _status(state, blocks, doubt)
    return Version(
        input_key=sent.key,
        status=status,
        effect=EFFECTS[status],
        text=join_text(blocks),
        report=_report(sent.report, state, included, status),
        reason="; ".join(filter(None, (said, doubt))),
        blocks=blocks,
    )


def _status(state: State, blocks: Iterable[Block], doubt: str) -> str:
    """Return the status (table 0123) of a version: that of its least final part."""
    if state.closed is not None:
        return _CLOSED[state.closed]
    if not any_text(state.base):
        return INCOMPLETE
    statuses = [block.status for block in blocks if block.text.strip()]
    return least_final([*statuses, NOT_VERIFIED] if doubt else statuses)


def _included(state: State) -> tuple[tuple[Addendum, ...], str]:
    """Return the addenda that stand beside the text, and why others must not.

    What the text says itself is not said twice.
    """
    named = state.report if any_text(state.base) else None
    if named is None and state.addenda:
        named = state.addenda[0].report
    text = join_text(state.base)
    reasons = [contradiction(each.report, named) for each in state.addenda]
    kept = tuple(
        each
        for each, why in zip(state.addenda, reasons, strict=True)
        if not why and not says_already(text, each.text)
    )
    return kept, next(filter(None, reasons), "")


def _report(
    latest: ParsedReport, state: State, included: Sequence[Addendum], status: str
) -> ParsedReport:
    """Return what a version names: of its text, with the times of its latest message."""
    named = state.report or (included[0].report if included else latest)
    patient = named.patient
    for each in included:
        patient = join_patients(patient, each.report.patient)
    return replace(
        named,
        patient=patient,
        result_status=status,
        status_changed_at=latest.status_changed_at,
        message_time=latest.message_time,
        parts=(),
    )


def _content(version: Version) -> tuple[object, ...]:
    report = replace(version.report, status_changed_at="", message_time="")
    return version.status, version.blocks, report

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
from dicom_node.reports.blocks import Block, join_sections, join_text
from dicom_node.reports.chain import (
    Addendum,
    Ignored,
    State,
    apply,
    contradiction,
    join_patients,
    split,
    status_of,
    takes_back,
)
from dicom_node.reports.sections import Section
from dicom_node.reports.status import EFFECTS, INCOMPLETE, Effect


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
    addenda = _addendum_numbers([each.report for each in ordered])
    state = State()
    versions: list[Version] = []
    ignored: dict[int, str] = {}
    for each in ordered:
        try:
            after, said = apply(state, each.report, each.report.number in addenda)
        except Ignored as reason:
            ignored[each.key] = str(reason)
            continue
        version = _version(each, after, said)
        state = after
        if versions and _content(versions[-1]) == _content(version):
            ignored[each.key] = "the message says nothing new"
        else:
            versions.append(version)
    return Chain(tuple(versions), ignored)


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


def _addendum_numbers(reports: Iterable[ParsedReport]) -> frozenset[str]:
    """Return the documents that are addenda, by what all messages say about them together."""
    added: set[str] = set()
    whole: set[str] = set()
    perhaps: set[str] = set()
    parents: dict[str, str] = {}
    for each in reports:
        parent = each.parent_number if each.parent_number != each.number else ""
        if each.action is DocumentAction.ADDENDUM:
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
    status = status_of(replace(state, doubt=state.doubt or doubt), included)
    if state.closed is None and not state.base:
        status = INCOMPLETE
    blocks: tuple[Block, ...] = ()
    if state.closed is None:
        blocks = (*state.base, *(block for each in included for block in each.blocks))
    reason = "; ".join(dict.fromkeys(filter(None, (said, state.doubt, doubt))))
    return Version(
        input_key=sent.key,
        status=status,
        effect=EFFECTS[status],
        text=join_text(blocks),
        report=_report(sent.report, state, included, status),
        reason=reason,
        blocks=blocks,
    )


def _included(state: State) -> tuple[tuple[Addendum, ...], str]:
    """Return the addenda that may stand beside the text, and why others may not."""
    if state.report is None:
        return state.addenda, ""
    reasons = [contradiction(each.report, state.report) for each in state.addenda]
    kept = [each for each, why in zip(state.addenda, reasons, strict=True) if not why]
    return tuple(kept), next(filter(None, reasons), "")


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

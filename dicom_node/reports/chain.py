"""What a report says after each of its messages: the state, and how a message changes it.

All is pure. The rules, and where they come from:

- Text restates: what a message says in OBX of the report itself replaces the text before it.
- An addendum stays until it is taken back, corrected or said by the text itself. Nothing that was
  added is lost because something else was corrected.
- A report is as final as the least final of its parts.
- What takes back (W, X, D, cancelled documents) is never undone by what only refers to earlier
  text (U, B, A, V, addenda): text has to be sent again.
- In doubt, text stays readable and is not final.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from dicom_node.hl7.parsed import DocumentAction, ParsedPatient, ParsedReport, ReportPart, Role
from dicom_node.reports.blocks import Block, any_text, has_addendum, join_text, says_already
from dicom_node.reports.status import (
    EFFECTS,
    NOT_VERIFIED,
    Action,
    Effect,
    least_final,
    observation_meaning,
    result_meaning,
)


class Ignored(Exception):
    """A message changes nothing; the argument is the reason in plain words."""


@dataclass(frozen=True, slots=True)
class Addendum:
    """Text that was added; ``number`` names its document, empty where it has none of its own."""

    number: str
    blocks: tuple[Block, ...]
    report: ParsedReport


@dataclass(frozen=True, slots=True)
class State:
    """A report after some of its messages."""

    report: ParsedReport | None = None  # what came with the text, ids merged
    number: str = ""  # of the document that holds the text
    base: tuple[Block, ...] = ()
    addenda: tuple[Addendum, ...] = ()
    closed: Effect | None = None  # WITHDRAW, RETRACT, or PROMOTE while the text is awaited
    doubt: str = ""  # why the text does not count as final
    replaced: frozenset[str] = frozenset()  # documents in whose place another stands

    @property
    def is_empty(self) -> bool:
        """Whether there is no text at all."""
        return not any_text(self.base) and not self.addenda


@dataclass(frozen=True, slots=True)
class Split:
    """The parts of a message by what their status does; text parts as blocks."""

    stated: tuple[Block, ...]
    added: tuple[Block, ...]
    promoted: tuple[ReportPart, ...]
    deleted: tuple[ReportPart, ...]
    checked: bool  # an OBX without text says that it was verified or amended
    withdrawn: tuple[ReportPart, ...]

    @property
    def states_text(self) -> bool:
        """Whether the message brings the text of the report itself."""
        return any_text(self.stated)

    @property
    def adds_text(self) -> bool:
        """Whether the message brings text to be added."""
        return any_text(self.added)


def split(report: ParsedReport) -> Split:
    """Sort the parts of a message by what OBR-25 and OBX-11 say together."""
    whole = result_meaning(report.result_status)
    stated: list[Block] = []
    added: list[Block] = []
    by_action: dict[Action, list[ReportPart]] = {action: [] for action in Action}
    checked = False
    for part in report.parts:
        meaning = observation_meaning(part.status)
        action = meaning.action
        if action is Action.STATE and whole.action is Action.APPEND:
            action = Action.APPEND
        if action is Action.PROMOTE and part.text.strip():
            action = Action.STATE  # sent again after all
        by_action[action].append(part)
        if action not in (Action.STATE, Action.APPEND):
            continue
        checked = checked or (part.status in ("A", "V") and not part.text.strip())
        block = _block(part, least_final(filter(None, (whole.status, meaning.status))))
        adds = action is Action.APPEND or part.role is Role.ADDENDUM
        (added if adds else stated).append(block)
    return Split(
        stated=tuple(stated),
        added=tuple(replace(block, role=Role.ADDENDUM) for block in added),
        promoted=tuple(by_action[Action.PROMOTE]),
        deleted=tuple(by_action[Action.DELETE]),
        checked=checked,
        withdrawn=tuple(by_action[Action.WITHDRAW]),
    )


def _block(part: ReportPart, status: str) -> Block:
    return Block(part.text, part.role, part.identifier, part.sub_id, status)


def takes_back(report: ParsedReport) -> Effect | None:
    """Tell whether a message takes its whole document back, and how."""
    if report.action is DocumentAction.CANCEL:
        return Effect.RETRACT
    action = result_meaning(report.result_status).action
    if action is Action.WITHDRAW:
        return Effect.WITHDRAW
    return Effect.RETRACT if action is Action.RETRACT else None


def apply(state: State, report: ParsedReport, addendum: bool) -> tuple[State, str]:
    """Return the state after a message, and what is to be said about it in plain words.

    Args:
        state: what the report said before.
        report: the message.
        addendum: whether its document is an addendum of the report.

    Raises:
        Ignored: the message changes nothing.
    """
    return _apply_addendum(state, report) if addendum else _apply_report(state, report)


def _apply_addendum(state: State, report: ParsedReport) -> tuple[State, str]:
    parts = split(report)
    known = any(each.number == report.number for each in state.addenda)
    if takes_back(report) or parts.withdrawn:
        if not known:
            raise Ignored("an addendum was taken back that is not there")
        return _without(state, report.number), "an addendum was taken back"
    if result_meaning(report.result_status).action is Action.NOTHING:
        raise Ignored("the result status says that there is no result")
    _refuse_closed(state)
    blocks = tuple(replace(block, role=Role.ADDENDUM) for block in (*parts.stated, *parts.added))
    if any_text(blocks):
        said = "an addendum was corrected" if known else "an addendum was added"
        return _with_addendum(state, Addendum(report.number, blocks, report)), said
    if not known:
        raise Ignored("an addendum holds no text")
    if parts.deleted:
        return _without_addendum_parts(state, report.number, parts.deleted), "an addendum changed"
    if parts.promoted or result_meaning(report.result_status).action is Action.PROMOTE:
        return _promote_addendum(state, report.number), "an addendum became final"
    raise Ignored("an addendum holds no text")


def _without(state: State, number: str) -> State:
    kept = tuple(each for each in state.addenda if each.number != number)
    return _emptied(replace(state, addenda=kept))


def _with_addendum(state: State, added: Addendum) -> State:
    kept = [added if each.number == added.number else each for each in state.addenda]
    if added not in kept:
        kept.append(added)
    return replace(state, addenda=tuple(kept), closed=None)


def _without_addendum_parts(state: State, number: str, deleted: Sequence[ReportPart]) -> State:
    kept: list[Addendum] = []
    for each in state.addenda:
        if each.number == number:
            blocks, _ = _delete(each.blocks, deleted)
            each = replace(each, blocks=blocks)
        if any_text(each.blocks):
            kept.append(each)
    return _emptied(replace(state, addenda=tuple(kept)))


def _promote_addendum(state: State, number: str) -> State:
    return replace(
        state,
        addenda=tuple(
            replace(each, blocks=_final(each.blocks)) if each.number == number else each
            for each in state.addenda
        ),
    )


def _apply_report(state: State, report: ParsedReport) -> tuple[State, str]:
    parts = split(report)
    if report.number in state.replaced:
        return _apply_replaced(state, report, parts)
    if (effect := _withdrawal(state, report, parts)) is not None:
        return _close(state, report, effect)
    whole = result_meaning(report.result_status)
    if whole.action is Action.NOTHING and not parts.deleted:
        raise Ignored("the result status says that there is no result")
    if parts.states_text and whole.action is not Action.NOTHING:
        return _restate(state, report, parts)
    return _refer(state, report, parts)


def _apply_replaced(state: State, report: ParsedReport, parts: Split) -> tuple[State, str]:
    if takes_back(report) is Effect.WITHDRAW or parts.withdrawn:
        return _close(state, report, Effect.WITHDRAW)
    raise Ignored("another document stands in the place of this one")


def _withdrawal(state: State, report: ParsedReport, parts: Split) -> Effect | None:
    """Tell whether a message takes the whole report back.

    W in one OBX is enough, except for addenda that are known: then only these go.
    """
    if (effect := takes_back(report)) is not None:
        return effect
    for part in parts.withdrawn:
        if part.role is not Role.ADDENDUM or not _known_addenda(state, part):
            return Effect.WITHDRAW
    return None


def _known_addenda(state: State, part: ReportPart) -> list[Addendum]:
    return [each for each in state.addenda if not each.number and _names(part, each.blocks)]


def _names(part: ReportPart, blocks: Iterable[Block]) -> bool:
    return any(block.key == (part.identifier, part.sub_id) for block in blocks)


def _close(state: State, report: ParsedReport, effect: Effect) -> tuple[State, str]:
    said = {
        Effect.WITHDRAW: "the sender declared what was sent before wrong",
        Effect.RETRACT: "the sender cancelled the report or took it back",
    }[effect]
    if state.closed is Effect.WITHDRAW and effect is Effect.RETRACT:
        raise Ignored("the report was withdrawn before")
    kept = inherit(report, state.report)
    return (
        State(report=kept, number=state.number, closed=effect, replaced=state.replaced),
        said,
    )


def _restate(state: State, report: ParsedReport, parts: Split) -> tuple[State, str]:
    """Put the text of a message in the place of what was there."""
    replaced = state.replaced
    if report.action is DocumentAction.REPLACE:
        replaced |= {report.parent_number, state.number} - {"", report.number}
    before = () if state.closed in (Effect.WITHDRAW, Effect.RETRACT) else state.addenda
    stated = _merged_blocks(state, parts) if parts.promoted else parts.stated
    addenda = _kept_addenda(before, stated, parts)
    after = State(
        report=inherit(report, state.report),
        number=report.number,
        base=stated,
        addenda=addenda,
        replaced=replaced,
    )
    return _append(after, report, parts.added, restated=True), ""


def _merged_blocks(state: State, parts: Split) -> tuple[Block, ...]:
    """Return the text where some OBX are sent and others only said to be final."""
    kept = [
        replace(block, status="F")
        if any(_names(part, (block,)) for part in parts.promoted)
        else block
        for block in state.base
        if not any(block.key == stated.key for stated in parts.stated)
    ]
    return (*kept, *parts.stated)


def _kept_addenda(
    before: Iterable[Addendum], stated: Sequence[Block], parts: Split
) -> tuple[Addendum, ...]:
    """Return the addenda that a new text leaves in place."""
    text = join_text(stated)
    restated = {block.key for block in parts.added}
    has_own = has_addendum(text)
    gone = (*parts.deleted, *parts.withdrawn)
    kept: list[Addendum] = []
    for each in before:
        if not each.number and (has_own or any(block.key in restated for block in each.blocks)):
            continue
        if not each.number and any(_names(part, each.blocks) for part in gone):
            continue
        if not says_already(text, join_text(each.blocks)):
            kept.append(each)
    return tuple(kept)


def _append(
    state: State, report: ParsedReport, blocks: Sequence[Block], *, restated: bool = False
) -> State:
    """Add what a message of the report itself adds; the same text is not added twice."""
    for group in _grouped(blocks):
        if not any_text(group):
            continue
        addition = Addendum("", group, report)
        text = join_text(group)
        if says_already(join_text(state.base), text):
            continue
        same = [at for at, each in enumerate(state.addenda) if _same(each, addition)]
        if same:
            state = _exchange(state, same[-1], addition)
        elif (at := _corrected(state.addenda, addition, restated)) is not None:
            state = _exchange(state, at, addition)
        else:
            state = replace(state, addenda=(*state.addenda, addition))
    return replace(state, closed=None)


def _grouped(blocks: Sequence[Block]) -> list[tuple[Block, ...]]:
    groups: list[list[Block]] = []
    for block in blocks:
        if groups and groups[-1][0].key == block.key:
            groups[-1].append(block)
        else:
            groups.append([block])
    return [tuple(group) for group in groups]


def _same(one: Addendum, other: Addendum) -> bool:
    return says_already(join_text(one.blocks), join_text(other.blocks)) and says_already(
        join_text(other.blocks), join_text(one.blocks)
    )


def _corrected(addenda: Sequence[Addendum], addition: Addendum, restated: bool) -> int | None:
    """Return which addendum an addition corrects: the last one of its name.

    OBX-4 names an addendum for good. Without it a correction (C) is one of the last addendum, and
    everything else is another addendum.
    """
    first = addition.blocks[0]
    if restated or not (first.sub_id or first.status == "C"):
        return None
    found = [
        at
        for at, each in enumerate(addenda)
        if not each.number and _names_block(first, each.blocks)
    ]
    return found[-1] if found else None


def _names_block(block: Block, blocks: Iterable[Block]) -> bool:
    return any(block.key == each.key for each in blocks)


def _exchange(state: State, at: int, addition: Addendum) -> State:
    kept = state.addenda
    added = replace(addition, number=kept[at].number)
    return replace(state, addenda=(*kept[:at], added, *kept[at + 1 :]))


def _refer(state: State, report: ParsedReport, parts: Split) -> tuple[State, str]:
    """Apply a message that brings no text of its own but speaks about what was sent before."""
    _refuse_closed(state)
    said: list[str] = []
    if parts.deleted:
        state = _delete_parts(state, report, parts.deleted)
        said.append("parts were deleted")
    if parts.withdrawn:
        state = _delete_addenda(state, parts.withdrawn)
        said.append("an addendum was taken back")
    if parts.adds_text:
        state = _append(state, report, parts.added)
        said.append("text was added")
    promotes = result_meaning(report.result_status).action is Action.PROMOTE
    if promotes or parts.promoted:
        state, sentence = _promote(state, report, () if promotes else parts.promoted)
        said.append(sentence)
    if parts.checked and not state.is_empty:
        state = replace(state, report=_rechecked(state, report))
        said.append("the sender verified the report or amended its demographics")
    if not said:
        return _announced(state, report)
    return state, "; ".join(said)


def _refuse_closed(state: State) -> None:
    if state.closed in (Effect.WITHDRAW, Effect.RETRACT):
        raise Ignored("what the message refers to was taken back before")


def _announced(state: State, report: ParsedReport) -> tuple[State, str]:
    """Judge a message that has a status and nothing else."""
    meaning = result_meaning(report.result_status)
    if meaning.status in ("C", "M") and not state.is_empty:
        doubt = "a correction was announced without its text"
        return replace(state, doubt=doubt), doubt
    raise Ignored("the message holds no text")


def _delete_parts(state: State, report: ParsedReport, deleted: Sequence[ReportPart]) -> State:
    if state.is_empty:
        kept = inherit(report, state.report)
        return replace(state, report=kept, number=report.number, closed=Effect.RETRACT)
    base, missed = _delete(state.base, deleted)
    addenda: list[Addendum] = []
    for each in state.addenda:
        if not each.number:
            blocks, left = _delete(each.blocks, deleted)
            missed = tuple(part for part in missed if part in left)
            each = replace(each, blocks=blocks)
        if any_text(each.blocks):
            addenda.append(each)
    state = replace(state, base=base, addenda=tuple(addenda))
    if missed and not state.is_empty:
        state = replace(state, doubt="a part was deleted that cannot be told from the others")
    return _emptied(state)


def _delete(
    blocks: Sequence[Block], deleted: Sequence[ReportPart]
) -> tuple[tuple[Block, ...], tuple[ReportPart, ...]]:
    """Return the blocks that are left, and the deletions that found none.

    A deletion that repeats the text of a block means that one; else all that have its name.
    """
    kept = list(blocks)
    missed: list[ReportPart] = []
    for part in deleted:
        named = [block for block in kept if block.key == (part.identifier, part.sub_id)]
        text = part.text.strip()
        exact = [block for block in named if text and block.text.strip() == text]
        gone = exact or named
        if not gone:
            missed.append(part)
        kept = [block for block in kept if all(block is not each for each in gone)]
    return tuple(kept), tuple(missed)


def _delete_addenda(state: State, parts: Sequence[ReportPart]) -> State:
    kept = tuple(
        each
        for each in state.addenda
        if each.number or not any(_names(part, each.blocks) for part in parts)
    )
    return _emptied(replace(state, addenda=kept))


def _emptied(state: State) -> State:
    """Close a report of whose own text nothing is left."""
    if state.closed is None and not any_text(state.base) and state.report is not None:
        return replace(state, base=(), addenda=(), closed=Effect.RETRACT)
    return state


def _promote(state: State, report: ParsedReport, named: Sequence[ReportPart]) -> tuple[State, str]:
    """Make the text before final: all of it, or the parts that are named."""
    if state.is_empty:
        kept = inherit(report, state.report)
        state = replace(state, report=kept, number=report.number, closed=Effect.PROMOTE)
        return state, "the text that is to become final has not come"
    if reason := contradiction(report, state.report):
        return replace(state, doubt=reason), reason
    if not named:
        addenda = tuple(
            each if each.number else replace(each, blocks=_final(each.blocks))
            for each in state.addenda
        )
        state = replace(state, base=_final(state.base), addenda=addenda)
    else:
        base = tuple(
            _final((block,))[0] if any(_names(part, (block,)) for part in named) else block
            for block in state.base
        )
        state = replace(state, base=base)
    return replace(state, report=_rechecked(state, report)), "the text became final"


def _final(blocks: Iterable[Block]) -> tuple[Block, ...]:
    return tuple(
        replace(block, status="F") if EFFECTS.get(block.status) is Effect.PROVISIONAL else block
        for block in blocks
    )


def contradiction(report: ParsedReport, text: ParsedReport | None) -> str:
    """Say why a message cannot be about a text that came with another one; empty if it can.

    Identifiers of patients are not compared here: a merge may lie between the two. Both are named
    by the version, and linking refuses them where they are two people.
    """
    if text is None:
        return ""
    one, other = report.patient, text.patient
    if one.birth_date and other.birth_date and one.birth_date != other.birth_date:
        return "a later message names another birth date than the text"
    if {one.sex, other.sex} == {"M", "F"}:
        return "a later message names another sex than the text"
    mine = {each.value for each in report.accessions}
    if mine and text.accessions and mine.isdisjoint(each.value for each in text.accessions):
        return "a later message names other accession numbers than the text"
    uids = set(report.study_instance_uids)
    if uids and text.study_instance_uids and uids.isdisjoint(text.study_instance_uids):
        return "a later message names other studies than the text"
    return ""


def inherit(report: ParsedReport, before: ParsedReport | None) -> ParsedReport:
    """Return a message with the accession numbers and studies that it leaves to earlier ones.

    What a message names replaces what was named before: a corrected accession number must not
    keep the wrong one. The patient is never inherited by text.
    """
    if before is None:
        return report
    accessions, studies = report.accessions, report.study_instance_uids
    if not studies and (not accessions or set(accessions) == set(before.accessions)):
        studies = before.study_instance_uids
    if not accessions and (
        not report.study_instance_uids
        or set(report.study_instance_uids) == set(before.study_instance_uids)
    ):
        accessions = before.accessions
    return replace(report, accessions=accessions, study_instance_uids=studies)


def _rechecked(state: State, report: ParsedReport) -> ParsedReport | None:
    """Return what came with the text, with the patient as a later message names it too."""
    text = state.report
    if text is None:
        return None
    return replace(
        text,
        patient=join_patients(text.patient, report.patient),
        accessions=text.accessions or report.accessions,
        study_instance_uids=text.study_instance_uids or report.study_instance_uids,
    )


def join_patients(one: ParsedPatient, other: ParsedPatient) -> ParsedPatient:
    """Return a patient with the identifiers of both; the values of the first count."""
    return ParsedPatient(
        identifiers=tuple(dict.fromkeys((*one.identifiers, *other.identifiers))),
        name=one.name or other.name,
        birth_date=one.birth_date or other.birth_date,
        sex=one.sex or other.sex,
    )


def status_of(state: State, included: Sequence[Addendum]) -> str:
    """Return the status (table 0123) of a state with these of its addenda."""
    closed = {Effect.WITHDRAW: "W", Effect.RETRACT: "X", Effect.PROMOTE: "U"}
    if state.closed is not None:
        return closed[state.closed]
    blocks = [*state.base, *(block for each in included for block in each.blocks)]
    statuses = [block.status for block in blocks if block.text.strip()]
    return least_final([*statuses, NOT_VERIFIED] if state.doubt else statuses)

"""What a report says after each of its messages: the state, and how a message changes it.

All is pure. The rules:

- Text restates: what a message says in OBX of the report itself replaces the text before it.
- An addendum stays until it is taken back or corrected, or the text itself says it. Nothing that
  was added is lost because something else was corrected.
- A report is as final as the least final of its parts.
- What takes back (W, X, D, cancelled documents) is not undone by what only refers to earlier text
  (U, B, A, V, addenda): the text has to be sent again.
- In doubt the text stays readable and is not final.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dicom_node.hl7.parsed import DocumentAction, ParsedReport, ReportPart, Role
from dicom_node.hl7.times import comparable
from dicom_node.linking.identifiers import Identifier
from dicom_node.reports import addenda as added_text
from dicom_node.reports.addenda import Addenda, Addendum
from dicom_node.reports.blocks import Block, any_text, final, join_text, says_already
from dicom_node.reports.naming import contradiction, inherit, join_patients, refer
from dicom_node.reports.parts import Split, delete, names, split, takes_back
from dicom_node.reports.status import EFFECTS, Action, Effect, result_meaning


class Ignored(Exception):
    """A message changes nothing; the argument is the reason in plain words."""


Said = tuple[str, tuple[Identifier, ...]]
"""A text and the identifiers of the patient that it was sent for."""


@dataclass(frozen=True, slots=True)
class State:
    """A report after some of its messages."""

    report: ParsedReport | None = None  # what came with the text, ids merged
    base: tuple[Block, ...] = ()
    addenda: Addenda = ()
    closed: Effect | None = None  # WITHDRAW, RETRACT, or PROMOTE while the text is awaited
    doubt: str = ""  # why the text does not count as final
    replaced: frozenset[str] = frozenset()  # documents in whose place another stands
    wrong: frozenset[Said] = frozenset()  # what was withdrawn

    @property
    def is_empty(self) -> bool:
        """Whether there is no text at all."""
        return not any_text(self.base) and not self.addenda

    @property
    def is_taken_back(self) -> bool:
        """Whether text has to be sent again before anything can be said about it."""
        return self.closed in (Effect.WITHDRAW, Effect.RETRACT)

    @property
    def is_final(self) -> bool:
        """Whether the text of the report itself, and what was sent with it, is final."""
        blocks = [*self.base, *(block for each in self.addenda for block in each.blocks)]
        return bool(blocks) and all(EFFECTS.get(each.status) is Effect.FINAL for each in blocks)


def apply(state: State, report: ParsedReport, *, addendum: bool) -> tuple[State, str]:
    """Return the state after a message, and what the message did in plain words.

    Args:
        state: what the report said before.
        report: the message.
        addendum: whether its document is an addendum of the report.

    Raises:
        Ignored: the message changes nothing.
    """
    parts = split(report)
    after, said = (_apply_addendum if addendum else _apply_report)(state, report, parts)
    if len(after.addenda) > added_text.MAXIMUM_ADDENDA:
        kept = after.addenda[: added_text.MAXIMUM_ADDENDA]
        after = replace(after, addenda=kept, doubt="the report has far too many addenda")
    return after, said


def _apply_report(state: State, report: ParsedReport, parts: Split) -> tuple[State, str]:
    """Apply a message of the report itself."""
    effect = _taken_back(state, report, parts)
    if report.number in state.replaced and effect is not Effect.WITHDRAW:
        raise Ignored("another document stands in the place of this one")
    if effect is not None:
        return _close(state, report, effect)
    if parts.whole is Action.NOTHING and not parts.deleted:
        raise Ignored("the result status says that there is no result")
    if parts.states_text:
        return _restate(state, report, parts)
    return _refer(state, report, parts)


def _taken_back(state: State, report: ParsedReport, parts: Split) -> Effect | None:
    """Tell whether a message takes the whole report back.

    W in one OBX is enough, whatever OBR-25 says. Only where it means an addendum that is known,
    the rest stays.
    """
    for part in parts.withdrawn:
        if part.role is not Role.ADDENDUM or not added_text.named_inside(state.addenda, part):
            return Effect.WITHDRAW
    return takes_back(report)


def _close(state: State, report: ParsedReport, effect: Effect) -> tuple[State, str]:
    if state.closed is Effect.WITHDRAW and effect is Effect.RETRACT:
        raise Ignored("the report was withdrawn before")
    wrong = state.wrong
    if effect is Effect.WITHDRAW and state.report is not None and any_text(state.base):
        wrong |= {_said(state.base, state.report)}
    closed = State(
        report=inherit(report, state.report), closed=effect, replaced=state.replaced, wrong=wrong
    )
    if effect is Effect.WITHDRAW:
        return closed, "the sender declared wrong what was sent before"
    return closed, "the sender cancelled the report or took it back"


def _said(blocks: tuple[Block, ...], report: ParsedReport) -> Said:
    return join_text(blocks), tuple(sorted(set(report.patient.identifiers)))


def _restate(state: State, report: ParsedReport, parts: Split) -> tuple[State, str]:
    """Put the text of a message in the place of what was there."""
    if _said(parts.stated, report) in state.wrong and not comparable(report.status_changed_at):
        raise Ignored("the message says what was withdrawn, without a time of its own")
    doubt = contradiction(report, state.report) if parts.promotes and state.base else ""
    stated, named = parts.stated, inherit(report, state.report)
    if parts.promotes and state.base and state.report is not None and not doubt:
        stated = _updated(state.base, parts)
        named = replace(named, patient=join_patients(report.patient, state.report.patient))
    replaced = state.replaced
    if report.action is DocumentAction.REPLACE:
        replaced |= {report.parent_number} - {"", report.number}
    kept = added_text.survive(state.addenda, stated, parts)
    after = State(
        report=named,
        base=stated,
        addenda=added_text.append(kept, _news(parts.added, stated), report, corrects=False),
        doubt=doubt,
        replaced=replaced,
        wrong=state.wrong,
    )
    return after, doubt


def _updated(base: tuple[Block, ...], parts: Split) -> tuple[Block, ...]:
    """Return a text of which some OBX are sent, and others are only said to be final."""
    sent = {block.key for block in parts.stated}
    kept = [
        final((block,))[0] if not parts.promoted or _promoted(block, parts) else block
        for block in base
        if block.key not in sent
    ]
    return (*kept, *parts.stated)


def _promoted(block: Block, parts: Split) -> bool:
    return any(names(part, (block,)) for part in parts.promoted)


def _news(added: tuple[Block, ...], base: tuple[Block, ...]) -> tuple[Block, ...]:
    """Return what is added, unless the text says it."""
    if not any_text(added):
        return added
    return () if says_already(join_text(base), join_text(added)) else added


def _refer(state: State, report: ParsedReport, parts: Split) -> tuple[State, str]:
    """Apply a message that brings no text of its own but speaks about what was sent before."""
    _refuse_taken_back(state)
    said: list[str] = []
    if parts.deleted and not (state.is_empty and any_text(parts.added)):
        state = _delete_parts(state, report, parts.deleted)
        said.append("parts were deleted")
    if parts.withdrawn:
        state = _checked(replace(state, addenda=_without_withdrawn(state, parts)))
        said.append("an addendum was taken back")
    if state.is_taken_back:
        return state, "; ".join(said)
    if any_text(parts.added):
        news = _news(parts.added, state.base)
        more = added_text.append(state.addenda, news, report, corrects=True)
        state = replace(state, addenda=more, closed=None)
        said.append("text was added")
    if parts.promotes:
        state, sentence = _promote(state, report, parts)
        said.append(sentence)
    if parts.rechecked and state.report is not None and not state.is_empty:
        state = replace(state, report=refer(report, state.report))
        said.append("the sender verified the report or amended its demographics")
    return (state, "; ".join(said)) if said else _announced(state, report)


def _refuse_taken_back(state: State) -> None:
    if state.is_taken_back:
        raise Ignored("what the message refers to was taken back before")


def _without_withdrawn(state: State, parts: Split) -> Addenda:
    return added_text.remove_inside(state.addenda, parts.withdrawn)


def _announced(state: State, report: ParsedReport) -> tuple[State, str]:
    """Judge a message that has a status and nothing else.

    A final status alone makes nothing final: its text may be another. A correction, or a step
    back, without text means that the text that is there is not the last word.
    """
    status = result_meaning(report.result_status).status
    steps_back = EFFECTS.get(status) is Effect.PROVISIONAL and state.is_final
    if not state.is_empty and (status == "C" or steps_back):
        doubt = "another text was announced and has not come"
        return replace(state, doubt=doubt), ""
    raise Ignored("the message holds no text")


def _delete_parts(state: State, report: ParsedReport, deleted: tuple[ReportPart, ...]) -> State:
    if state.is_empty:
        named = inherit(report, state.report)
        return replace(state, report=named, closed=Effect.RETRACT)
    exact = _repeated(state, deleted)
    base, missed = delete(state.base, [part for part in deleted if part not in exact])
    addenda, missed_inside = added_text.delete_parts(state.addenda, "", deleted)
    state = _checked(replace(state, base=base, addenda=addenda))
    if any(part in missed_inside for part in missed) and not state.is_taken_back:
        return replace(state, doubt="a part was deleted that cannot be told from the others")
    return state


def _repeated(state: State, deleted: tuple[ReportPart, ...]) -> list[ReportPart]:
    """Return the deletions that repeat the text of an addendum sent with the report."""
    inside = [block for each in state.addenda if not each.number for block in each.blocks]
    texts = {block.text.strip() for block in inside} - {block.text.strip() for block in state.base}
    return [part for part in deleted if part.text.strip() and part.text.strip() in texts]


def _checked(state: State) -> State:
    """Take a report back of whose own text nothing is left."""
    if any_text(state.base) or (state.addenda and state.report is None):
        return state
    return replace(state, base=(), addenda=(), closed=Effect.RETRACT, doubt="")


def _promote(state: State, report: ParsedReport, parts: Split) -> tuple[State, str]:
    """Make the text before final: all of it, or the parts that are named."""
    if not any_text(state.base):
        if state.addenda:
            return state, "the text that is to become final has not come"
        named = inherit(report, state.report)
        waiting = replace(state, report=named, closed=Effect.PROMOTE)
        return waiting, "the text that is to become final has not come"
    if doubt := contradiction(report, state.report):
        return replace(state, doubt=doubt), ""
    if parts.whole is Action.PROMOTE:
        base, addenda = final(state.base), added_text.make_final(state.addenda, "")
    else:
        base = tuple(
            final((block,))[0] if _promoted(block, parts) else block for block in state.base
        )
        addenda = tuple(
            replace(each, blocks=final(each.blocks))
            if not each.number and any(_promoted(block, parts) for block in each.blocks)
            else each
            for each in state.addenda
        )
    named = refer(report, state.report) if state.report is not None else report
    return replace(state, report=named, base=base, addenda=addenda), "the text became final"


def _apply_addendum(state: State, report: ParsedReport, parts: Split) -> tuple[State, str]:
    """Apply a message of a document that is an addendum of the report."""
    if report.number in state.replaced:
        raise Ignored("another document stands in the place of this one")
    known = next((each for each in state.addenda if each.number == report.number), None)
    if takes_back(report) or parts.withdrawn:
        if known is None:
            raise Ignored("an addendum was taken back that is not there")
        return _take_addendum_back(state, known), "an addendum was taken back"
    if parts.whole is Action.NOTHING and not parts.deleted:
        raise Ignored("the result status says that there is no result")
    _refuse_taken_back(state)
    blocks = (*parts.stated, *parts.added)
    if any_text(blocks):
        return _state_addendum(state, report, blocks, parts)
    if known is None:
        raise Ignored("an addendum holds no text")
    if parts.deleted:
        left, _ = added_text.delete_parts(state.addenda, report.number, parts.deleted)
        return _checked_addenda(replace(state, addenda=left)), "parts of an addendum were deleted"
    if parts.promotes:
        if doubt := contradiction(report, known.report):
            return replace(state, doubt=doubt), ""
        addenda = added_text.make_final(state.addenda, report.number)
        return replace(state, addenda=addenda), "an addendum became final"
    raise Ignored("an addendum holds no text")


def _state_addendum(
    state: State, report: ParsedReport, blocks: tuple[Block, ...], parts: Split
) -> tuple[State, str]:
    replaced, addenda = state.replaced, state.addenda
    before = next((each for each in addenda if each.number == report.number), None)
    blocks = tuple(replace(block, role=Role.ADDENDUM) for block in blocks)
    if before is not None and parts.whole is Action.APPEND:
        blocks = (*before.blocks, *blocks)
    if report.action is DocumentAction.REPLACE:
        replaced |= {report.parent_number} - {"", report.number}
        addenda = tuple(
            replace(each, number=report.number) if each.number == report.parent_number else each
            for each in addenda
        )
    addenda = added_text.put(addenda, Addendum(report.number, blocks, report))
    said = "an addendum was corrected" if len(addenda) == len(state.addenda) else "text was added"
    return replace(state, addenda=addenda, closed=None, replaced=replaced), said


def _take_addendum_back(state: State, addendum: Addendum) -> State:
    """Leave an addendum out; a text that repeats it cannot be trusted any more."""
    after = replace(state, addenda=added_text.remove(state.addenda, addendum.number))
    if says_already(join_text(state.base), addendum.text):
        after = replace(after, doubt="the text holds an addendum that was taken back")
    return _checked_addenda(after)


def _checked_addenda(state: State) -> State:
    """Take a report back of which only addenda were known and none is left."""
    return _checked(state) if state.is_empty and state.closed is None else state

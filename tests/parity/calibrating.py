"""Notes on which the labeler's thresholds are fitted, with what their words say.

On the real notes the rates were measured with fitted thresholds, so the experiment fits some, too:
on notes of their own, as a site does on reports that its readers labelled. The reference is what a
careful reader takes from the words, not the grading.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from labeling.evaluation.calibration import FitRule, fit_thresholds
from labeling.evaluation.cases import Case, Reference
from labeling.thresholds import Thresholds
from labeling.vocabulary import WHOLE, State
from plugin.simulation.truth import LEVELS
from tests.parity.gradings import TARGETS, GradedPatient, Place
from tests.parity.labeling import Reading
from tests.parity.notes import FALSE_FRIEND, NAMED, PLAIN, Shares, write_note

_USUAL = Shares(
    dict.fromkeys(TARGETS, 0.1), dict.fromkeys(TARGETS, 0.05), dict.fromkeys(TARGETS, 0.2)
)
_STRENGTH = (State.PRESENT, State.UNCERTAIN, State.ABSENT, State.NOT_MENTIONED)


@dataclass(frozen=True)
class ReadNote:
    """A note of nobody's, and what its words say at each place, the whole included."""

    name: str
    text: str
    states: Mapping[Place, State]


def calibration_notes(patients: Sequence[GradedPatient], count: int, seed: int) -> list[ReadNote]:
    """Return notes on the discs of patients drawn with repetition."""
    drawn = random.Random(f"calibration {seed}").choices(patients, k=count)
    found = []
    for number, patient in enumerate(drawn):
        name = f"calibration-{seed}-{number}"
        note = write_note(name, patient.truth, _USUAL)
        found.append(ReadNote(name, note.text, dict(_said(patient.truth, note.manners))))
    return found


def thresholds_on(notes: Sequence[ReadNote], reading: Reading) -> Thresholds:
    """Return thresholds fitted as ``radloop labeler calibrate`` fits them."""
    measured, _ = reading.measure({each.name: each.text for each in notes}, evidence=False)
    cases = [
        Case(
            each.name,
            each.name,
            measured[each.name],
            {place: Reference(state) for place, state in each.states.items()},
        )
        for each in notes
    ]
    return fit_thresholds(cases, FitRule())


def _said(
    truth: Mapping[Place, bool], manners: Mapping[Place, str]
) -> Iterator[tuple[Place, State]]:
    for target in TARGETS:
        states = {level: _state(truth[target, level], manners[target, level]) for level in LEVELS}
        yield (target, WHOLE), min(states.values(), key=_STRENGTH.index)
        for level, state in states.items():
            yield (target, level), state


def _state(there: bool, manner: str) -> State:
    """Return what the words of a manner say; silence and denial are not told apart."""
    if manner == "hedged":
        return State.UNCERTAIN
    if manner == NAMED or (there and manner in (PLAIN, "taken_back", "shorthand")):
        return State.PRESENT
    return State.ABSENT if manner == FALSE_FRIEND else State.NOT_MENTIONED

"""What a reader can say of a simulated spine, in the words of the ``spine`` label schema."""

from __future__ import annotations

from labeling.synthesis.generated import Place
from labeling.synthesis.generator import Findings
from labeling.vocabulary import WHOLE, State
from plugin.simulation.spines import ImagedSpine
from plugin.simulation.truth import LEVELS, OBSERVATIONS, SpineTruth

_STEPS = {
    "disc_narrowing": ((0.0, "mild"), (0.45, "moderate"), (0.56, "severe")),
    "herniation": ((0.0, "small"), (5.3, "moderate"), (6.7, "large")),
    "stenosis": ((0.0, "mild"), (0.50, "moderate"), (0.63, "severe")),
    "spondylolisthesis": ((0.0, "meyerding_1"), (9.0, "meyerding_2")),
}
"""From which degree on (units of ``truth.PRESENT_FROM``) a finding has a step of its scale."""

_IN_MILLIMETRES = ("herniation", "spondylolisthesis")
_NOWHERE = ("cancer", "cauda_equina_compression")
_NOT_BESIDE = {"disc_bulging": "herniation", "disc_degeneration": "disc_narrowing"}
"""What a drawn disc is free of, unless it has the finding that goes along with it.

How dark a drawn disc is and how far it bulges has no threshold: its reader calls it normal for age.
"""


def findings_of(spine: ImagedSpine) -> Findings:
    """Return what is so of a spine; of what its truth does not know, nothing.

    Grades and millimetres are given only where the truth's degrees mean something.
    """
    truth = spine.truth
    places = [(o, level) for o in OBSERVATIONS for level in LEVELS if truth.known(o, level)]
    found = [place for place in places if truth.present(*place)]
    states = {place: State.PRESENT if place in found else State.ABSENT for place in places}
    if spine.free_of_others:
        states |= _absent_besides(truth)
    if not spine.graded:
        return Findings(states)
    degrees = {(o, level): float(getattr(truth.levels[level], o)) for o, level in found}
    return Findings(
        states,
        severities={place: _step(place[0], degree) for place, degree in degrees.items()},
        millimetres={p: degree for p, degree in degrees.items() if p[0] in _IN_MILLIMETRES},
    )


def _absent_besides(truth: SpineTruth) -> dict[Place, State]:
    states: dict[Place, State] = {(each, WHOLE): State.ABSENT for each in _NOWHERE}
    for other, observation in _NOT_BESIDE.items():
        free = [level for level in LEVELS if not truth.present(observation, level)]
        states |= {(other, level): State.ABSENT for level in free}
    return states


def _step(observation: str, degree: float) -> str:
    return [step for least, step in _STEPS[observation] if degree >= least][-1]

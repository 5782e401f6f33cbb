"""What a model is to answer about a generated report: questions, and how right each answer is.

The questions are those that the labelers ask, in their words; nothing here words a question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from labeling.language import LanguagePack
from labeling.llm.interface import Question, Reading
from labeling.places import locations_of
from labeling.synthesis.generated import GeneratedReport, Place
from labeling.token_scores.levels import NamedSites
from labeling.token_scores.prompt import PackWords, Prompts
from labeling.tree.questions import DENIED, DIGITS, GRADED, LOCATED, LOCATION, ROOT, SEVERITY
from labeling.tree.wording import Wording
from labeling.vocabulary import WHOLE, LabelSchema, State

SURE, NONE = (1.0, 0.0), (0.0, 1.0)
"""Of yes and no."""

PRESENT, MENTIONED = "present", "mentioned"


@dataclass(frozen=True)
class Truth:
    """What some words of a report say; a place that is not listed is not asked about.

    Args:
        words: cleaned for a prompt.
        states, severities, locations: as ``GeneratedReport`` has them.
        is_part: of an excerpt a labeler asks about every site, whichever it names.
    """

    words: str
    states: Mapping[Place, State]
    severities: Mapping[Place, str] = field(default_factory=dict)
    locations: Mapping[Place, tuple[str, ...]] = field(default_factory=dict)
    is_part: bool = False

    @classmethod
    def of(cls, report: GeneratedReport, words: str) -> Truth:
        """Return the truth about a whole report."""
        return cls(words, report.states, report.severities, report.locations)


@dataclass(frozen=True)
class Lesson:
    """A question about a place, and the share of right in each of its answers (they sum to 1).

    ``weight`` says how often it is drawn beside the others of its report.
    """

    place: Place
    kind: str
    stem: str
    question: Question
    target: tuple[float, ...]
    weight: float = 1.0


@dataclass(frozen=True)
class Course:
    """All that one labeler asks, in the words of one language pack.

    Args:
        kind: name of the words in the pack.
        words: of the labeler.
        lessons: returns the questions about a truth; the number is how much "yes" an uncertain
            finding is to whether it is present.
    """

    kind: str
    words: PackWords
    lessons: Callable[[Truth, float], Iterator[Lesson]]

    def reading(self, truth: Truth) -> Reading:
        """Return what is read once for all questions."""
        return self.words.reading(truth.words)


_COUNTING = {State.PRESENT, State.UNCERTAIN}
_PRESENT_WEIGHTS = {
    State.PRESENT: 4.0,
    State.UNCERTAIN: 4.0,
    State.ABSENT: 2.0,
    State.NOT_MENTIONED: 1.0,
}
_MENTIONED_WEIGHTS = {
    State.PRESENT: 0.5,
    State.UNCERTAIN: 0.5,
    State.ABSENT: 2.0,
    State.STABLE_UNKNOWN: 1.0,
    State.NOT_MENTIONED: 0.7,
}
_WHOLE_WEIGHT = 2.0  # there are several sites to each whole
_ELSEWHERE_WEIGHT = 3.0  # found at another site, not here: which one is what is hardest to tell


def token_scores(schema: LabelSchema, pack: LanguagePack, kind: str) -> Course:
    """Return what ``token_scores`` asks: present and mentioned, whole and at each named site."""
    prompts, named = Prompts(schema, pack, kind), NamedSites(schema, pack)

    def lessons(truth: Truth, uncertain: float) -> Iterator[Lesson]:
        at_sites = _found_at_sites(truth)
        asked = {WHOLE, *named.of(truth.words)}
        for place, state in truth.states.items():
            if place[1] not in asked and not truth.is_part:
                continue
            stem, often = prompts.stem(place[0]), _WHOLE_WEIGHT if place[1] == WHOLE else 1.0
            if weight := _PRESENT_WEIGHTS.get(state, 0.0):
                target = _target(state, uncertain)
                elsewhere = place[1] != WHOLE and state not in _COUNTING and place[0] in at_sites
                weight = _ELSEWHERE_WEIGHT if elsewhere else often * weight
                yield Lesson(place, PRESENT, stem, prompts.present(*place), target, weight)
            if weight := _MENTIONED_WEIGHTS.get(state, 0.0):
                target = NONE if state is State.NOT_MENTIONED else SURE
                question = prompts.mentioned(*place)
                yield Lesson(place, MENTIONED, stem, question, target, often * weight)

    return Course(kind, prompts, lessons)


def tree(schema: LabelSchema, pack: LanguagePack, kind: str = "tree") -> Course:
    """Return what ``tree`` asks: presence, stability, denial, severity and words of place."""
    words = Wording(schema, pack)

    def lessons(truth: Truth, uncertain: float) -> Iterator[Lesson]:
        for place, state in truth.states.items():
            counts = state in _COUNTING
            asked = _presence(state, uncertain)
            if counts:
                asked |= _details(words, truth, place)
            for name, (target, weight) in asked.items():
                node, _, where = name.partition("/")
                question = words.question(node, *place, where)
                often = weight * (_WHOLE_WEIGHT if place[1] == WHOLE else 1.0)
                yield Lesson(place, name, words.stem(place[0]), question, target, often)

    return Course(kind, words, lessons)


_Answers = dict[str, tuple[tuple[float, ...], float]]  # by question: the target and the weight


def _presence(state: State, uncertain: float) -> _Answers:
    """Return the answers on the way to a state; a question off the way teaches nothing."""
    counts, stable = state in _COUNTING, state is State.STABLE_UNKNOWN
    if counts:
        digit = len(DIGITS) - 1 if state is State.PRESENT else round(uncertain * (len(DIGITS) - 2))
        shares = tuple(float(place == digit) for place in range(len(DIGITS)))
        return {ROOT: (SURE, 3.0), "probability": (shares, 2.0)}
    denied = SURE if state is State.ABSENT else NONE
    found: _Answers = {
        ROOT: (NONE, 1.5),
        "stable": (SURE if stable else NONE, 2.0 if stable else 0.3),
    }
    if stable:
        return found | {"stable_possible": (NONE, 1.0), "normal": (NONE, 1.0)}
    return found | {DENIED: (denied, 1.0)}


def _details(words: Wording, truth: Truth, place: Place) -> _Answers:
    found: _Answers = {}
    observation = words.schema.observation(place[0])
    if words.asks_severity(place[0]):
        steps = [each.id for each in observation.severities]
        said = truth.severities.get(place, "")
        chosen = steps.index(said) if said else len(steps)
        shares = tuple(float(index == chosen) for index in range(len(steps) + 1))
        found[GRADED] = (SURE if said else NONE, 1.0)
        found[SEVERITY] = (shares, 1.5)
    if words.asks_location(place[0]):
        said_of = truth.locations.get(place, ())
        found[LOCATED] = (SURE if said_of else NONE, 0.5)
        found |= {f"{LOCATION}/{each}": (SURE, 1.0) for each in said_of}
        known = {each.id for each in locations_of(words.schema, observation)}
        others = _said_elsewhere(truth, place) & known
        found |= {f"{LOCATION}/{each}": (NONE, 1.0) for each in sorted(others)}
    return found


def _found_at_sites(truth: Truth) -> set[str]:
    """Return the observations that the report finds, and says where."""
    places = (place for place, state in truth.states.items() if state in _COUNTING)
    return {name for name, site in places if site != WHOLE}


def _said_elsewhere(truth: Truth, place: Place) -> set[str]:
    """Return words of place that the report says of other findings only: the hard negatives."""
    elsewhere = {each for other, said in truth.locations.items() for each in said if other != place}
    return elsewhere - set(truth.locations.get(place, ()))


def _target(state: State, uncertain: float) -> tuple[float, float]:
    if state is State.UNCERTAIN:
        return uncertain, 1.0 - uncertain
    return SURE if state is State.PRESENT else NONE

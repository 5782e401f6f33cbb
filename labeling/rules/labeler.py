"""A rule labeler: negation- and uncertainty-aware, per level, each label with its sentence.

It is the floor that a language model has to beat. Its margins are an order of states, not a
measurement: probabilities come from a calibration only.

How statements become labels:

* present beats uncertain, uncertain beats absent, absent beats stable-unknown;
* what an addendum says of a level replaces what the report said of it before;
* the whole report is present where any level is; a statement without level labels the whole only,
  except that a finding denied without level ("No spondylolisthesis.") is absent at every level
  that the report says nothing else about;
* silence is not_mentioned, never absent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import resources

from labeling.labeler import LabelerSetup, LabelResult, failed
from labeling.language import LanguagePack
from labeling.rules.attributes import worst
from labeling.rules.lexicon import NoLexicon, load_lexicon
from labeling.rules.statements import Statement, StatementFinder
from labeling.sections import Kind, UnreadableReport, read_report
from labeling.vocabulary import WHOLE, Observation, State

_PRECEDENCE = (State.PRESENT, State.UNCERTAIN, State.ABSENT, State.STABLE_UNKNOWN)
# An order, not a measure: surer of "present" from left to right, the middle is doubt.
_ORDER = {
    State.ABSENT: -3.0,
    State.NOT_MENTIONED: -2.0,
    State.STABLE_UNKNOWN: -1.0,
    State.UNCERTAIN: 0.0,
    State.PRESENT: 2.0,
}
_MOST_SPANS = 3
_SAID_AGAIN_FROM = 2
_SOURCES = (
    "rules/labeler.py",
    "rules/assertion.py",
    "rules/attributes.py",
    "rules/levels.py",
    "rules/lexicon.py",
    "rules/statements.py",
    "cues.py",
    "language_detection.py",
    "sections.py",
)
_SOURCES_OF_THE_NODE = ("headings.py", "kinds.py", "sections.py", "unheaded.py")


class RuleLabeler:
    """Labels reports by rules; needs no model, so the store is not used.

    Margins are ordinal: they say which of two labels is the surer one and nothing else, so only
    a calibration makes a probability of them.
    """

    name = "rules"

    def __init__(self, setup: LabelerSetup) -> None:
        self._schema, self._settings = setup.schema, setup.settings
        self._languages = setup.languages
        self._finders: dict[str, StatementFinder] = {}
        digests = [self._add(pack) for _, pack in sorted(setup.languages.packs.items())]
        self.model_digest = _source_digest("".join(digests))
        asked = f"{setup.languages.digest} {setup.settings.label_history}"
        self.prompt_digest = hashlib.sha256(asked.encode()).hexdigest()

    def _add(self, pack: LanguagePack) -> str:
        """Make ready for a language where its pack has the words; return their digest."""
        if pack.cues is None:
            return ""
        try:
            lexicon = load_lexicon(self._schema, pack)
        except NoLexicon:
            return ""
        self._finders[pack.code] = StatementFinder(self._schema, lexicon, pack.cues)
        return lexicon.digest

    def label_reports(self, texts: Sequence[str]) -> Iterator[list[LabelResult]]:
        """Yield the results of each text, in order."""
        return map(self.label_report, texts)

    def label_report(self, text: str) -> list[LabelResult]:
        """Return one result for every observation of the schema, whole and at each site."""
        try:
            report = read_report(text, self._languages, self._settings)
        except UnreadableReport as error:
            return failed(self._schema, str(error))
        finder = self._finders.get(report.pack.code)
        if finder is None:
            name = report.pack.name
            return failed(self._schema, f"language: the pack for {name} has no words for rules")
        statements = list(finder.find(text, report.sentences))
        results: list[LabelResult] = []
        for observation in self._schema.observations:
            own = [each for each in statements if each.observation == observation.id]
            own = _amended(own, observation.sites)
            order = [severity.id for severity in observation.severities]
            results.append(_whole(observation, own, order))
            results += [_at_site(observation.id, site, own, order) for site in observation.sites]
        return results


def _amended(statements: list[Statement], sites: Sequence[str]) -> list[Statement]:
    """Let addenda replace what was said before about the same levels."""
    added = [each for each in statements if each.kind is Kind.ADDENDUM]
    if not added:
        return statements
    everything = any(each.sites is None for each in added)
    covered = frozenset(sites) if everything else frozenset().union(*(a.sites or () for a in added))
    kept: list[Statement] = []
    for statement in statements:
        if statement.kind is Kind.ADDENDUM:
            kept.append(statement)
        elif statement.sites is None:
            kept.extend([] if everything else [statement])
        elif left := statement.sites - covered:
            kept.append(replace(statement, sites=left))
    return kept


def _decisive(statements: Sequence[Statement]) -> list[Statement]:
    """Return the statements of the state that wins, in the order of the report."""
    for state in _PRECEDENCE:
        if found := [each for each in statements if each.state is state]:
            return found
    return []


def _whole(
    observation: Observation, statements: list[Statement], order: Sequence[str]
) -> LabelResult:
    decisive = _decisive(
        [
            each
            for each in statements
            # A finding denied at a level that the schema does not know says nothing here.
            if each.sites is None or each.sites or each.state is not State.ABSENT
        ]
    )
    if not decisive:
        return _silent(observation.id, WHOLE)
    detail = ""
    if decisive[0].state is State.ABSENT and all(each.sites is not None for each in statements):
        denied = {site for each in statements for site in each.sites or ()}
        if missing := [site for site in observation.sites if site not in denied]:
            detail = f"denied at some levels; nothing said of {', '.join(missing)}"
    return _result(observation.id, WHOLE, decisive, order, detail)


def _at_site(
    observation: str, site: str, statements: list[Statement], order: Sequence[str]
) -> LabelResult:
    own = _decisive([each for each in statements if each.sites is not None and site in each.sites])
    if own:
        return _result(observation, site, own, order)
    general = _decisive([each for each in statements if each.sites is None])
    if general and general[0].state is State.ABSENT:
        return _result(observation, site, general, order, "denied for the whole examination")
    return _silent(observation, site)


def _silent(observation: str, site: str) -> LabelResult:
    return LabelResult(observation, site, State.NOT_MENTIONED, margin=_ORDER[State.NOT_MENTIONED])


def _result(
    observation: str,
    site: str,
    decisive: Sequence[Statement],
    order: Sequence[str],
    detail: str = "",
) -> LabelResult:
    state = decisive[0].state
    spans = tuple(dict.fromkeys((each.start, each.end) for each in decisive))
    said = [each.attributes for each in decisive]
    places = frozenset[str]().union(*(each.locations for each in said))
    return LabelResult(
        observation,
        site,
        state,
        margin=_ORDER[state] + _said_again(state, len(spans)),
        evidence=spans[:_MOST_SPANS],
        severity=worst((each.severity for each in said), order),
        locations=tuple(sorted(places)),
        detail=detail,
    )


def _said_again(state: State, spans: int) -> float:
    """Return what a second sentence that says the same adds: it takes a misreading away."""
    if spans < _SAID_AGAIN_FROM:
        return 0.0
    return {State.PRESENT: 0.5, State.ABSENT: -0.5}.get(state, 0.0)


def _source_digest(lexicon: str) -> str:
    own, node = resources.files("labeling"), resources.files("dicom_node") / "reports"
    files = [*(own / name for name in _SOURCES), *(node / name for name in _SOURCES_OF_THE_NODE)]
    content = b"".join(each.read_bytes() for each in files)
    return hashlib.sha256(content + lexicon.encode()).hexdigest()

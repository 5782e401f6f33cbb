"""A rule labeler: negation- and uncertainty-aware, per level, each label with its sentence.

It is the floor that a language model has to beat. Rules give no probability and no margin: a
number invented for a rule would look calibrated and is not.

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
from labeling.rules.lexicon import load_lexicon
from labeling.rules.statements import Statement, StatementFinder
from labeling.sections import Kind, UnreadableReport, read_report
from labeling.vocabulary import WHOLE, State

_PRECEDENCE = (State.PRESENT, State.UNCERTAIN, State.ABSENT, State.STABLE_UNKNOWN)
_SOURCES = (
    "rules/labeler.py",
    "rules/assertion.py",
    "rules/levels.py",
    "rules/lexicon.py",
    "rules/statements.py",
    "sections.py",
)


class RuleLabeler:
    """Labels reports by rules; needs no model, so the settings and the store are not used."""

    name = "rules"

    def __init__(self, setup: LabelerSetup) -> None:
        schema = setup.schema
        lexicon = load_lexicon(schema)
        self._schema = schema
        self._settings, self._languages = setup.settings, setup.languages
        self._statements = StatementFinder(schema, lexicon)
        self.model_digest = _source_digest(lexicon.digest)
        self.prompt_digest = ""

    def label_reports(self, texts: Sequence[str]) -> Iterator[list[LabelResult]]:
        """Yield the results of each text, in order."""
        return map(self.label_report, texts)

    def label_report(self, text: str) -> list[LabelResult]:
        """Return one result for every observation of the schema, whole and at each site."""
        try:
            report = read_report(text, self._languages, self._settings)
        except UnreadableReport as error:
            return failed(self._schema, str(error))
        statements = list(self._statements.find(text, report.sentences))
        results: list[LabelResult] = []
        for observation in self._schema.observations:
            own = [each for each in statements if each.observation == observation.id]
            own = _amended(own, observation.sites)
            results.append(_whole(observation.id, own, observation.sites))
            results.extend(_at_site(observation.id, site, own) for site in observation.sites)
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


def _decisive(statements: Sequence[Statement]) -> Statement | None:
    for state in _PRECEDENCE:
        for statement in statements:
            if statement.state is state:
                return statement
    return None


def _whole(observation: str, statements: list[Statement], sites: Sequence[str]) -> LabelResult:
    statement = _decisive(
        [
            each
            for each in statements
            # A finding denied at a level that the schema does not know says nothing here.
            if each.sites is None or each.sites or each.state is not State.ABSENT
        ]
    )
    if statement is None:
        return LabelResult(observation, WHOLE, State.NOT_MENTIONED)
    detail = ""
    if statement.state is State.ABSENT and all(each.sites is not None for each in statements):
        denied = {site for each in statements for site in each.sites or ()}
        if missing := [site for site in sites if site not in denied]:
            detail = f"denied at some levels; nothing said of {', '.join(missing)}"
    return _result(observation, WHOLE, statement, detail)


def _at_site(observation: str, site: str, statements: list[Statement]) -> LabelResult:
    own = _decisive([each for each in statements if each.sites is not None and site in each.sites])
    if own is not None:
        return _result(observation, site, own)
    general = _decisive([each for each in statements if each.sites is None])
    if general is not None and general.state is State.ABSENT:
        return _result(observation, site, general, "denied for the whole examination")
    return LabelResult(observation, site, State.NOT_MENTIONED)


def _result(observation: str, site: str, statement: Statement, detail: str = "") -> LabelResult:
    evidence = ((statement.start, statement.end),)
    return LabelResult(observation, site, statement.state, evidence=evidence, detail=detail)


def _source_digest(lexicon: str) -> str:
    folder = resources.files("labeling")
    content = b"".join((folder / name).read_bytes() for name in _SOURCES)
    return hashlib.sha256(content + lexicon.encode()).hexdigest()

"""Stage: a rule for series looks at the studies that nobody has shown it as they are now."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping

from dicom_node.storage import DicomStore
from dicom_node.studies import is_frozen, study_digest
from plugin.context import Context, Progress
from training.errors import TrainingError, Transient
from training.images.archive import choose_in_study
from training.images.rule_file import load_rule, shipped_rules
from training.images.series_rule import ImageSeriesRule
from training.models import Cohort
from training.registry import models_at_work
from training.series_choices import SeriesChoice, keep_choice, without_choice

log = logging.getLogger("radloop")

_BATCH = 32
_A_SWEEP = 64  # studies that one look of the node takes, so that other work goes on


def choose_series(
    context: Context,
    rule: ImageSeriesRule,
    studies: Collection[str],
    progress: Progress,
    most: int | None = None,
) -> int:
    """Have a rule choose in those of some studies that it has not seen as they are.

    A study of which a file cannot be read now is passed over: it has no choice, and is asked for
    again at the next call.

    Args:
        context: the open node.
        rule: which images are wanted.
        studies: Study Instance UIDs.
        progress: told how many studies were looked at.
        most: stop after so many.

    Returns:
        How many studies were looked at.
    """
    with context.database.read() as session:
        waiting = [
            uid
            for uid in without_choice(session, rule.digest, studies)
            if not is_frozen(session, uid)
        ][:most]
    for first in range(0, len(waiting), _BATCH):
        looked = [_look(context, rule, uid) for uid in waiting[first : first + _BATCH]]
        with context.database.write() as session:
            for each in looked:
                # A study that was erased or has grown meanwhile is not what was judged.
                if each and study_digest(session, each.study_instance_uid) == each.study_digest:
                    keep_choice(session, each)
        done = min(first + _BATCH, len(waiting))
        progress(f"choosing series: study {done} of {len(waiting)}")
    return len(waiting)


def choose_for_predictions(context: Context, studies: Collection[str]) -> int:
    """Let the rules of models at work look at studies; return how many looks there were."""
    return sum(choose_series(context, rule, studies, _mute) for rule in _rules_at_work(context))


class ChoicesOfSweeps:
    """Lets the rules of models at work look at what became complete since they looked last.

    A study that cannot be read is asked for again when it changes, and by a new process.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._shown: dict[str, dict[str, frozenset[str]]] = {}  # by digest of the rule

    def look(self, complete: Mapping[str, Collection[str]]) -> None:
        """Look at some of the complete studies, given with the digests of their states."""
        for rule in _rules_at_work(self._context):
            shown = self._shown.setdefault(rule.digest, {})
            fresh = {
                uid: frozenset(states)
                for uid, states in complete.items()
                if shown.get(uid) != frozenset(states)
            }
            if fresh and choose_series(self._context, rule, fresh, _mute, _A_SWEEP) < _A_SWEEP:
                shown.update(fresh)


def _rules_at_work(context: Context) -> Iterator[ImageSeriesRule]:
    for prediction in context.settings.prediction:
        if not prediction.series_rule:
            continue
        with context.database.read() as session:
            wanted = bool(models_at_work(session, prediction.model))
        if wanted:
            try:
                yield load_rule(prediction.series_rule)
            except TrainingError as error:
                log.error("series rule of model %s: %s", prediction.model, error)


def _mute(_: str) -> None:
    """Say nothing: nobody waits."""


def choose_for_cohort(context: Context, cohort: Cohort, studies: Collection[str]) -> None:
    """Let the rule of a frozen cohort look again at studies that have other images since.

    Nothing is done where the cohort has none, or where neither the package nor the settings have
    that rule any more.
    """
    digest = cohort.query.get("series_rule", {}).get("digest", "")
    rules = [each.series_rule for each in context.settings.prediction if each.series_rule]
    for name in (*shipped_rules(), *rules) if digest else ():
        try:
            rule = load_rule(name)
        except TrainingError:
            continue
        if rule.digest == digest:
            choose_series(context, rule, studies, _mute)
            return


def _look(context: Context, rule: ImageSeriesRule, uid: str) -> SeriesChoice | None:
    store = DicomStore(context.folder.root)
    with context.database.read() as session:
        state = study_digest(session, uid)
        try:
            chosen = choose_in_study(session, store, context.sandbox, uid, rule)
        except (Transient, FileNotFoundError) as error:
            log.warning("a study could not be judged by series rule %s: %s", rule.name, error)
            return None
    taken = chosen.taken
    return SeriesChoice(
        study_instance_uid=uid,
        rule_digest=rule.digest,
        study_digest=state,
        series_instance_uid=taken.series_instance_uid if taken else "",
        # A file is named by its digest wherever it lies.
        digests=sorted({image.path.name.partition(".")[0] for image in taken.images})
        if taken
        else [],
        why=chosen.why,
        chosen_at=context.clock(),
    )

"""Stage: a rule for series looks at the studies that nobody has shown it as they are now."""

from __future__ import annotations

from collections.abc import Collection

from dicom_node.storage import DicomStore
from dicom_node.studies import instances_of, is_frozen, study_digest
from plugin.context import Context, Progress
from training.images.archive import choose_in_study
from training.images.rule_file import load_rule
from training.images.series_rule import ImageSeriesRule
from training.registry import live_model
from training.series_choices import SeriesChoice, keep_choice, without_choice

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

    Args:
        context: the open node.
        rule: which images are wanted.
        studies: Study Instance UIDs.
        progress: told how many studies were looked at.
        most: stop after so many.

    Returns:
        How many studies were looked at.

    Raises:
        training.errors.Transient: a file could not be read from disk.
    """
    with context.database.read() as session:
        waiting = [
            uid
            for uid in without_choice(session, rule.digest, studies)
            if not is_frozen(session, uid)
        ][:most]
    for first in range(0, len(waiting), _BATCH):
        found = [_look(context, rule, uid) for uid in waiting[first : first + _BATCH]]
        with context.database.write() as session:
            for each in found:
                keep_choice(session, each)
        done = min(first + _BATCH, len(waiting))
        progress(f"choosing series: study {done} of {len(waiting)}")
    return len(waiting)


def choose_for_predictions(
    context: Context, studies: Collection[str], most: int | None = _A_SWEEP
) -> int:
    """Let the rules of the ``[[prediction]]`` sections look at studies; return how many."""
    done = 0
    for prediction in context.settings.prediction:
        if not prediction.series_rule:
            continue
        with context.database.read() as session:
            live = live_model(session, prediction.model) is not None
        if live:
            rule = load_rule(prediction.series_rule)
            done += choose_series(context, rule, studies, lambda _: None, most)
    return done


def _look(context: Context, rule: ImageSeriesRule, uid: str) -> SeriesChoice:
    store = DicomStore(context.folder.root)
    with context.database.read() as session:
        state = study_digest(session, uid)
        chosen = choose_in_study(session, store, context.sandbox, uid, rule)
        digest_of = {store.path(each.digest): each.digest for each in instances_of(session, uid)}
    taken = chosen.taken
    return SeriesChoice(
        study_instance_uid=uid,
        rule_digest=rule.digest,
        study_digest=state,
        series_instance_uid=taken.series_instance_uid if taken else "",
        digests=sorted({digest_of[image.path] for image in taken.images}) if taken else [],
        why=chosen.why,
        chosen_at=context.clock(),
    )

"""Which one series of a study is analysed, in training and in prediction alike."""

from __future__ import annotations

from sqlalchemy import func
from sqlmodel import Session, col, select

from dicom_node.models import Instance, Series
from dicom_node.studies import images_only
from training.images.rule_file import load_rule
from training.selection import SeriesRule
from training.series_choices import chosen_digests
from training.settings import PredictionRule


def analysed_series(session: Session, study_instance_uid: str, rule: SeriesRule) -> str | None:
    """Return the Series Instance UID that the rule selects in a study, or None.

    Of several series that fit, the one with the most instances is taken, then the one whose UID
    sorts first, so that the choice does not depend on the order of arrival.
    """
    size = func.count(col(Instance.sop_instance_uid))
    query = (
        select(Series)
        .join(Instance, col(Instance.series_instance_uid) == col(Series.series_instance_uid))
        .where(
            Series.study_instance_uid == study_instance_uid,
            Series.modality == rule.modality,
            images_only(),
        )
        .group_by(col(Series.series_instance_uid))
        .order_by(size.desc(), col(Series.series_instance_uid))
    )
    for series in session.exec(query):
        if rule.accepts(series.body_part_examined, series.series_description):
            return series.series_instance_uid
    return None


def instance_digests(session: Session, series_instance_uid: str) -> list[str]:
    """Return the digests of a series' images, which name their files in the archive."""
    query = (
        select(Instance.digest)
        .where(Instance.series_instance_uid == series_instance_uid, images_only())
        .order_by(col(Instance.digest))
    )
    return list(session.exec(query))


def analysed_digests(session: Session, study_instance_uid: str, rule: SeriesRule) -> list[str]:
    """Return the digests of the images that a model looks at in a study; none where none fits."""
    if rule.image_rule:
        found = chosen_digests(session, rule.image_rule, [study_instance_uid])
        return found.get(study_instance_uid, [])
    series = analysed_series(session, study_instance_uid, rule)
    return instance_digests(session, series) if series else []


def series_rule(rule: PredictionRule, body_parts: tuple[str, ...] = ()) -> SeriesRule:
    """Return the rule for series that a ``[[prediction]]`` section holds.

    Args:
        rule: of the settings.
        body_parts: where the section names none.

    Raises:
        Permanent: the rule for series that it names cannot be used.
    """
    parts = (rule.body_part,) if rule.body_part else body_parts
    if not rule.series_rule:
        return SeriesRule(rule.modality, parts, rule.series_description)
    named = load_rule(rule.series_rule)
    return SeriesRule(named.modalities[0], image_rule=named.digest)

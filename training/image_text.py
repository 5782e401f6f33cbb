"""Images that carry what a report says: an input from which the label can be read."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from dicom_node.database import chunks
from dicom_node.models import Instance, Series
from dicom_node.studies import images_only
from labeling.vocabulary import LabelSchema
from training.models import CohortMember, SeriesPicture
from training.query import CohortQuery
from training.series_choices import SeriesChoice, choices

SECONDARY = "its images are secondary captures, which may show text"
DESCRIPTION = "the Series Description of its images holds a word of a label"
COMMENTS = "the Image Comments of its images hold a word of a label"
SCREENS = "its images are marked as screens, dose sheets or pages with text"

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_SHORTEST = 3  # characters; shorter abbreviations stand in too many names of sequences


def label_words(schema: LabelSchema) -> re.Pattern[str]:
    """Return a pattern for the names and synonyms of the observations, whole words, any case."""
    words = {
        word.strip()
        for each in schema.observations
        for word in (each.name, each.id.replace("_", " "), *each.synonyms)
        if len(word.strip()) >= _SHORTEST
    }
    said = (r"[\s_-]+".join(map(re.escape, re.split(r"[\s_-]+", word))) for word in sorted(words))
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(said)})(?![^\W_])", re.IGNORECASE)


def carriers_of_text(
    session: Session,
    members: Collection[CohortMember],
    query: CohortQuery,
    pictures: Mapping[str, SeriesPicture | None],
) -> dict[str, str]:
    """Return the studies whose images carry text that may come from a report, and by what.

    Structured reports, encapsulated documents and other objects without pixels are never analysed
    (``dicom_node.studies.is_image``). What is left are pictures of text and texts in headers.

    Args:
        session: any session.
        members: drafted members.
        query: which series count, and what may be all the same.
        pictures: what was seen of the analysed series.
    """
    words = label_words(query.schema)
    found: dict[str, str] = {}
    for uid, picture in pictures.items():
        if picture is None:
            continue
        if query.label_words == "exclude" and any(map(words.search, picture.texts)):
            found[uid] = COMMENTS
        if picture.marks:
            found[uid] = SCREENS
    for uid, description, sop_class_uid in _series(session, members, query):
        if query.label_words == "exclude" and words.search(description):
            found.setdefault(uid, DESCRIPTION)
        if query.secondary_captures == "exclude" and _is_secondary(sop_class_uid):
            found[uid] = SECONDARY
    return found


def _is_secondary(sop_class_uid: str) -> bool:
    """Tell whether a SOP class is one of PS3.4 B.5's secondary captures."""
    return sop_class_uid == _SECONDARY_CAPTURE or sop_class_uid.startswith(f"{_SECONDARY_CAPTURE}.")


def _series(
    session: Session, members: Collection[CohortMember], query: CohortQuery
) -> list[tuple[str, str, str]]:
    """Return study, Series Description and SOP class of every series that fits."""
    found = []
    for chunk in chunks(sorted(each.study_instance_uid for each in members)):
        rows = session.exec(
            select(Series, Instance.sop_class_uid)
            .join(Instance, col(Instance.series_instance_uid) == col(Series.series_instance_uid))
            .where(col(Series.study_instance_uid).in_(chunk), _wanted(query), images_only())
            .distinct()
        )
        chosen = choices(session, query.image_rule, chunk) if query.image_rule else {}
        found += [
            (series.study_instance_uid, series.series_description, sop_class_uid)
            for series, sop_class_uid in rows
            if _is_looked_at(series, query, chosen)
        ]
    return found


def _wanted(query: CohortQuery) -> Any:
    """Narrow the series by modality, unless a rule for series says which images count."""
    return sa.true() if query.image_rule else col(Series.modality) == query.modality


def _is_looked_at(series: Series, query: CohortQuery, chosen: Mapping[str, SeriesChoice]) -> bool:
    if query.image_rule:
        choice = chosen.get(series.study_instance_uid)
        return choice is not None and choice.series_instance_uid == series.series_instance_uid
    return query.rule.accepts(series.body_part_examined, series.series_description)

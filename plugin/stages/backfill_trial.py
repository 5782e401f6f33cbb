"""Stage: what a backfill would do, asked of the archive; nothing is fetched or written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dicom_node.errors import NeedsReview
from dicom_node.errors import Permanent as Refused
from dicom_node.retrieval.answers import ImageFound, StudyFound
from dicom_node.retrieval.finding import Finder, finder
from dicom_node.retrieval.looking import (
    Issuers,
    Several,
    TooLarge,
    content_of,
    look_up,
    priors_of_found,
)
from dicom_node.retrieval.models import Retrieval, State
from dicom_node.retrieval.rows import instances_here
from plugin.context import Context, Progress
from plugin.stages.archives import archive_of, asked_peer, issuers_of
from plugin.stages.backfill_requests import Asked, read_requests

_FETCH = "fetch"


def try_backfill(
    context: Context, path: str, progress: Progress, *, peer: str, priors: int
) -> dict[str, Any]:
    """Ask the archive about each line of a file, and fetch nothing.

    Raises:
        Permanent, InvalidSettings: as :func:`start_backfill`.
        dicom_node.errors.Transient: the archive cannot be asked.
    """
    where = asked_peer(context.settings, peer)
    wanted, refused = read_requests(Path(path))
    issuers = issuers_of(context, where)
    rows: list[dict[str, Any]] = []
    with finder(archive_of(context, where)) as asked:
        for number, each in enumerate(wanted, start=1):
            asked.begin()
            rows.append(_tried(context, asked, each, issuers, priors))
            progress(f"{number} of {len(wanted)} asked about")
    found: dict[str, int] = {}
    for row in rows:
        found[row["state"]] = found.get(row["state"], 0) + 1
    return {
        "dry_run": True,
        "from": where.name,
        "would": found,
        "instances": sum(row["instances"] or 0 for row in rows if row["state"] == _FETCH),
        "priors": sum(row["priors"] for row in rows),
        "studies": rows,
        "refused": refused,
    }


def _tried(
    context: Context, asked: Finder, each: Asked, issuers: Issuers, priors: int
) -> dict[str, Any]:
    row = Retrieval(**each.values, backfill_id=0, next_at=context.clock())
    told = {"line": each.line, "accession": each.accession_number, "instances": None, "priors": 0}
    try:
        study = look_up(asked, row, issuers)
        if study is None:
            return {**told, "state": State.UNKNOWN.value}
        content = content_of(asked, study, context.settings.retrieval.maximum_instances)
        if priors:
            found, why = priors_of_found(asked, study, issuers, priors)
            told["priors"] = len(found)
            told |= {"detail": why} if why else {}
    except TooLarge as error:
        return {**told, "state": State.TOO_LARGE.value, "detail": str(error)}
    except Several:
        return {**told, "state": State.SEVERAL.value}
    except (Refused, NeedsReview) as error:
        return {**told, "state": State.REFUSED.value, "detail": str(error)}
    return {**told, **_judged(context, study, content)}


def _judged(
    context: Context, study: StudyFound, content: tuple[ImageFound, ...] | None
) -> dict[str, Any]:
    """Return what would become of a study, as :mod:`plugin.stages.retrieve` judges it."""
    with context.database.read() as session:
        here = instances_here(session, study.study_instance_uid)
    number = study.instances if content is None else len(content)
    if content is None:
        is_here = bool(number) and len(here) >= (number or 0)
    else:
        is_here = {image.sop_instance_uid for image in content} <= here
    state = State.PRESENT.value if is_here else _FETCH
    if number is not None and number > context.settings.retrieval.maximum_instances:
        state = State.TOO_LARGE.value
    return {"state": state, "instances": number}

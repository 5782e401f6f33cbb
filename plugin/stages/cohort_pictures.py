"""Stage: the images of drafted members are looked at, before the transaction that freezes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sqlmodel import Session

from dicom_node.storage import DicomStore
from dicom_node.studies import complete_studies
from plugin.context import Context, Progress
from plugin.stages.ground import ground_of
from training.cohort import draft
from training.errors import Transient
from training.models import SeriesPicture
from training.pictures import analysed_images, look_at, pictures_of
from training.query import CohortQuery

_BATCH = 64
_ROUNDS = 3


def look_at_members(
    context: Context, query_of: Callable[[Session], CohortQuery], progress: Progress
) -> int:
    """Look at the analysed series of all drafted members that nobody looked at; return how many.

    Raises:
        Transient: new images keep coming faster than they can be looked at.
    """
    done = 0
    for _ in range(_ROUNDS):
        waiting = _waiting(context, query_of)
        if not waiting:
            return done
        done += _look(context, waiting, progress)
    if _waiting(context, query_of):
        raise Transient("images came while the cohort was being frozen; ask again")
    return done


def _waiting(
    context: Context, query_of: Callable[[Session], CohortQuery]
) -> Mapping[str, Sequence[str]]:
    """Return the images of the members' series that nobody looked at, by study."""
    ground = ground_of(context.settings)
    with context.database.read() as session:
        query = query_of(session)
        complete = complete_studies(session)
        drafted = draft(
            session, query, context.settings.training, ground.salt, complete, ground.name_of
        )
        analysed = analysed_images(
            session, [each.study_instance_uid for each in drafted], query.rule
        )
        known = pictures_of(session, analysed)
    return {uid: digests for uid, digests in analysed.items() if known[uid] is None}


def _look(context: Context, waiting: Mapping[str, Sequence[str]], progress: Progress) -> int:
    store = DicomStore(context.folder.root)
    seen: dict[str, SeriesPicture] = {}
    for number, digests in enumerate(waiting.values(), start=1):
        picture = look_at({each: store.path(each) for each in digests}, context.sandbox)
        seen[picture.series_digest] = picture
        if len(seen) >= _BATCH or number == len(waiting):
            with context.database.write() as session:
                for each in seen.values():
                    session.merge(each)
            seen = {}
            progress(f"comparing images: study {number} of {len(waiting)}")
    return len(waiting)

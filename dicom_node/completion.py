"""When a study is complete: nothing came for a while, or every series that a rule requires is in.

DICOM has no message that says "that was all". Silence is measured between arrivals, which the
files themselves record, and never further than the oldest object that still waits in the spool:
behind it there may be more of any study, so a backlog is not silence. A study whose last image
bears a time in the future (the clock was set back since) is judged by the time that this process
has seen it unchanged while nothing waited in the spool.

Each content of a study is recorded as complete at most once. Images that come later make another
content: the study is open again until that one is recorded.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from itertools import groupby

from sqlmodel import Session, col, select

from dicom_node.errors import Permanent
from dicom_node.life_models import StudyCompletion
from dicom_node.models import Instance, Series, Study
from dicom_node.settings import CompletionRule, DicomSettings
from dicom_node.storage import DicomStore
from dicom_node.studies import digest_of_images, images_only

QUIET_TIME = "quiet time"
REQUIRED_SERIES = "required series"
GIVEN_UP = "required series did not come"
FORCED = "forced"

_BATCH = 500


@dataclass(frozen=True)
class Arrivals:
    """What one look at clock and spool says; take it before the tables are read.

    Args:
        now: the time.
        oldest_spooled: when the oldest object that is not yet indexed arrived.
    """

    now: dt.datetime
    oldest_spooled: dt.datetime | None = None

    @property
    def known_until(self) -> dt.datetime:
        """Until when every arrival is in the tables."""
        return self.now if self.oldest_spooled is None else min(self.now, self.oldest_spooled)


@dataclass(frozen=True)
class ImageSeries:
    """A series with images, as rules see it."""

    modality: str
    body_part: str
    description: str


@dataclass(frozen=True)
class StudyContent:
    """The images of a study as they are now, and what was recorded about it before.

    It was last received when its newest image was: a document neither delays nor hastens anything.
    """

    study_instance_uid: str
    study_description: str
    last_received_at: dt.datetime
    study_digest: str
    images: int
    series: frozenset[ImageSeries]
    completions: tuple[StudyCompletion, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether the content as it is now was recorded as complete."""
        return any(each.study_digest == self.study_digest for each in self.completions)


@dataclass(frozen=True)
class Verdict:
    """Whether a content is complete and by which cause, or what it waits for."""

    complete: bool
    why: str


@dataclass
class Unchanged:
    """For how long this process has seen contents unchanged; the time of day has no part in it."""

    monotonic: Callable[[], float] = time.monotonic
    _since: dict[str, tuple[str, float]] = field(default_factory=dict)

    def seconds(self, content: StudyContent) -> float:
        """Return for how many seconds the content has been the same."""
        digest, since = self._since.get(content.study_instance_uid, ("", 0.0))
        if digest != content.study_digest:
            since = self.monotonic()
            self._since[content.study_instance_uid] = content.study_digest, since
        return self.monotonic() - since

    def forget(self, content: StudyContent) -> None:
        """Forget a content, because it was recorded or something is on its way."""
        self._since.pop(content.study_instance_uid, None)


def look(store: DicomStore, now: dt.datetime) -> Arrivals:
    """Look into the spool, without opening a file."""
    try:
        waiting = store.spooled()
    except FileNotFoundError:
        return Arrivals(now)  # nothing was ever received
    for path in waiting:
        try:
            oldest = dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC)
        except FileNotFoundError:
            continue  # indexed since: its rows are committed
        return Arrivals(now, oldest)
    return Arrivals(now)


def contents(
    session: Session, study_instance_uids: Collection[str] | None = None
) -> Iterator[StudyContent]:
    """Yield the content of each study that holds images; None: of all studies."""
    if study_instance_uids is None:
        study_instance_uids = session.exec(select(Study.study_instance_uid)).all()
    ordered = sorted(study_instance_uids)
    for start in range(0, len(ordered), _BATCH):
        yield from _contents(session, ordered[start : start + _BATCH])


def _contents(session: Session, uids: Sequence[str]) -> Iterator[StudyContent]:
    completions: dict[str, list[StudyCompletion]] = {}
    for row in session.exec(
        select(StudyCompletion)
        .where(col(StudyCompletion.study_instance_uid).in_(uids))
        .order_by(col(StudyCompletion.number))
    ):
        completions.setdefault(row.study_instance_uid, []).append(row)
    rows = session.exec(
        select(Study, Series, Instance.digest, Instance.received_at)
        .join(Series, col(Series.study_instance_uid) == col(Study.study_instance_uid))
        .join(Instance, col(Instance.series_instance_uid) == col(Series.series_instance_uid))
        .where(col(Study.study_instance_uid).in_(uids), images_only())
        .order_by(col(Study.study_instance_uid))
    )
    for uid, group in groupby(rows, key=lambda row: row[0].study_instance_uid):
        images = list(group)
        study = images[0][0]
        yield StudyContent(
            study_instance_uid=uid,
            study_description=study.study_description,
            last_received_at=max(received_at for *_, received_at in images),
            study_digest=digest_of_images(digest for _, _, digest, _ in images),
            images=len(images),
            series=frozenset(_image_series(series) for _, series, *_ in images),
            completions=tuple(completions.get(uid, ())),
        )


def _image_series(series: Series) -> ImageSeries:
    return ImageSeries(series.modality, series.body_part_examined, series.series_description)


def rule_for(content: StudyContent, rules: Iterable[CompletionRule]) -> CompletionRule | None:
    """Return the first rule that is about this study."""
    return next((rule for rule in rules if _is_about(rule, content)), None)


def _is_about(rule: CompletionRule, content: StudyContent) -> bool:
    return _like(content.study_description, rule.study_description) and any(
        rule.modality in ("", each.modality)
        and rule.body_part.upper() in ("", each.body_part.upper())
        for each in content.series
    )


def _like(text: str, pattern: str) -> bool:
    return fnmatch(text.strip().casefold(), pattern.casefold())


def missing_series(content: StudyContent, rule: CompletionRule) -> list[str]:
    """Return the patterns of the rule that no series of the study matches."""
    return [
        pattern
        for pattern in rule.series
        if not any(_like(each.description, pattern) for each in content.series)
    ]


def judge(
    content: StudyContent, settings: DicomSettings, arrivals: Arrivals, unchanged: Unchanged
) -> Verdict:
    """Tell whether a study is complete as it is, or what it waits for."""
    rule = rule_for(content, settings.completion)
    cause, seconds = QUIET_TIME, settings.study_quiet_seconds
    if rule is not None:
        cause, seconds = REQUIRED_SERIES, rule.quiet_seconds
        if missing := missing_series(content, rule):
            if not 0 < rule.give_up_seconds <= _quiet(content, arrivals):
                return Verdict(False, f"a series like {missing[0]!r} has not come")
            cause, seconds = GIVEN_UP, rule.give_up_seconds
    if content.last_received_at > arrivals.now:
        return _judge_future(content, cause, seconds, arrivals, unchanged)
    quiet = _quiet(content, arrivals)
    if quiet >= seconds:
        return Verdict(True, cause)
    if arrivals.known_until < arrivals.now:
        return Verdict(False, "objects that came soon after its last one are not indexed yet")
    return Verdict(False, f"quiet for {quiet:.0f} of {seconds:g} seconds")


def _quiet(content: StudyContent, arrivals: Arrivals) -> float:
    """Return for how many seconds nothing of the study can have come."""
    return (arrivals.known_until - content.last_received_at).total_seconds()


def _judge_future(
    content: StudyContent, cause: str, seconds: float, arrivals: Arrivals, unchanged: Unchanged
) -> Verdict:
    if arrivals.oldest_spooled is not None:
        unchanged.forget(content)
    elif unchanged.seconds(content) >= seconds:
        return Verdict(True, cause)
    return Verdict(False, "its last image bears a time in the future: the clock was set back")


def record_completion(
    session: Session,
    content: StudyContent,
    cause: str,
    now: dt.datetime,
    *,
    decided_by: str = "radloop",
    reason: str = "",
) -> StudyCompletion | None:
    """Record a content as complete; None where it is not the study's content any more.

    A content that was recorded before stays as it was recorded.
    """
    current = next(contents(session, [content.study_instance_uid]), None)
    if current is None or current.study_digest != content.study_digest:
        return None
    for known in current.completions:
        if known.study_digest == content.study_digest:
            return known
    row = StudyCompletion(
        study_instance_uid=content.study_instance_uid,
        number=1 + max((each.number for each in current.completions), default=0),
        study_digest=content.study_digest,
        images=current.images,
        last_received_at=current.last_received_at,
        cause=cause,
        decided_by=decided_by,
        reason=reason,
        completed_at=now,
    )
    session.add(row)
    session.flush()
    return row


def force_completion(
    session: Session, study_instance_uid: str, *, by: str, reason: str, now: dt.datetime
) -> StudyCompletion:
    """Record a study as complete because a person says so.

    Raises:
        Permanent: nobody or no reason is given, or no image of the study is indexed.
    """
    if not by.strip() or not reason.strip():
        raise Permanent("a forced completion needs who decides and why")
    content = next(contents(session, [study_instance_uid]), None)
    if content is None:
        raise Permanent("no image of a study with this UID is indexed")
    row = record_completion(session, content, FORCED, now, decided_by=by, reason=reason)
    if row is None:
        raise Permanent("the study changed meanwhile")
    return row

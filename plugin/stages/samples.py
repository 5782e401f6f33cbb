"""Stored samples: what they are, worksheets for their readers, and where readers disagree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sqlmodel import Session, col, select

from dicom_node.durable import write_durably
from labeling.models import ReferenceLabel, ReferenceSample
from labeling.reader_labels import heard_for, labels_of
from labeling.reference_file import ADJUDICATOR, Place, agreed_state
from labeling.reference_samples import Membership, find_sample, memberships, subjects_of
from labeling.report_file import read_reports
from labeling.worksheet import Sheet, adjudication, worksheet
from plugin.errors import Permanent
from plugin.stages.labelled import numbered_reports

_WAITING, _AGREED, _ADJUDICATED, _DISPUTED = "waiting", "agreed", "adjudicated", "disputed"


class _Place(NamedTuple):
    """One place of one subject of a sample: what became of it, and what was said."""

    subject: str
    place: Place
    standing: str
    states: str


def list_samples(session: Session) -> dict[str, Any]:
    """Return every stored sample with how far its readers have come."""
    rows = session.exec(select(ReferenceSample).order_by(col(ReferenceSample.id)))
    return {
        "samples": [
            {
                "sample": each.digest[:12],
                "level": each.level,
                "design": each.design,
                "n": each.n,
                "frame": each.frame_size,
                "readers": each.readers,
                "seed": each.seed,
                "drawn_at": each.drawn_at.isoformat(timespec="seconds"),
                "by": each.drawn_by,
                **_counts(_places(session, each)),
            }
            for each in rows
        ]
    }


def write_worksheets(
    session: Session,
    digest: str,
    folder: Path,
    *,
    with_text: bool = False,
    file: Path | None = None,
    encoding: str = "utf-8-sig",
) -> dict[str, Any]:
    """Write a worksheet for each reader of a sample, mode 0600, into a folder (0700 if new).

    Args:
        session: any session.
        digest: the beginning of the sample's.
        folder: takes the worksheets; one that is there already is not overwritten.
        with_text: put the texts of the reports in.
        file, encoding: of the reports, where the sample is of a file.

    Raises:
        Permanent: no such sample, texts of studies are asked for, or a worksheet is there.
    """
    sample = find_sample(session, digest)
    subjects = [each.subject for each in subjects_of(session, sample)]
    texts = _texts(session, sample, subjects, file, encoding) if with_text else None
    sheet = Sheet(sample.digest, sample.level, _asked(sample), sample.seed)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    paths = [
        folder / f"worksheet-{sample.digest[:12]}-reader-{number}.csv"
        for number in range(1, sample.readers + 1)
    ]
    for path in paths:
        _refuse_existing(path)
    for number, path in enumerate(paths, start=1):
        write_durably(path, worksheet(sheet, subjects, number, f"reader {number}", texts))
    return {"sample": sample.digest[:12], "worksheets": [str(path) for path in paths]}


def disagreements_of(
    session: Session, digest: str, output: Path | None = None, limit: int = 50
) -> dict[str, Any]:
    """Return where the readers of a sample disagree and nobody has adjudicated.

    Args:
        session: any session.
        digest: the beginning of the sample's.
        output: takes a worksheet for the adjudicator, mode 0600.
        limit: how many are listed.

    Raises:
        Permanent: no such sample, or the worksheet is there.
    """
    sample = find_sample(session, digest)
    places = list(_places(session, sample))
    disputed = [each for each in places if each.standing == _DISPUTED]
    result: dict[str, Any] = {
        "sample": sample.digest[:12],
        **_counts(places),
        "disagreements": [
            {
                "subject": each.subject,
                "observation": each.place[0],
                "site": each.place[1],
                "states": each.states,
            }
            for each in disputed[:limit]
        ],
    }
    if output is not None:
        _refuse_existing(output)
        rows = [(sample.level, each.subject, each.place, each.states) for each in disputed]
        write_durably(output, adjudication(sample.digest, rows, ADJUDICATOR))
        result["worksheet"] = str(output)
    return result


def _asked(sample: ReferenceSample) -> list[Place]:
    return [(observation, site) for observation, site in sample.places]


def _counts(places: Iterator[_Place] | Sequence[_Place]) -> dict[str, int]:
    counts = dict.fromkeys((_AGREED, _ADJUDICATED, _DISPUTED, _WAITING), 0)
    for each in places:
        counts[each.standing] += 1
    return counts


def _places(session: Session, sample: ReferenceSample) -> Iterator[_Place]:
    """Yield every place that the readers of a sample are asked about."""
    subjects = [each.subject for each in subjects_of(session, sample)]
    rows: dict[tuple[str, Place], list[ReferenceLabel]] = {}
    for label in labels_of(session, sample.level, subjects):
        rows.setdefault((label.subject, (label.observation, label.site)), []).append(label)
    samples = memberships(session, sample.level)
    for subject in subjects:
        member = samples[subject][sample.digest]
        for place in _asked(sample):
            yield _standing(subject, place, rows.get((subject, place), []), member)


def _standing(
    subject: str, place: Place, labels: Sequence[ReferenceLabel], member: Membership
) -> _Place:
    heard = [each for each in heard_for(labels, member) if each.blinded == "yes"]
    states = " / ".join(sorted(each.state for each in heard))
    if heard and agreed_state(heard) is None:
        return _Place(subject, place, _DISPUTED, states)
    if any(each.role == ADJUDICATOR for each in heard):
        return _Place(subject, place, _ADJUDICATED, states)
    enough = len({each.reader for each in heard}) >= member.readers
    return _Place(subject, place, _AGREED if enough else _WAITING, states)


def _texts(
    session: Session,
    sample: ReferenceSample,
    subjects: Sequence[str],
    file: Path | None,
    encoding: str,
) -> Mapping[str, str]:
    if sample.level == "image":
        raise Permanent("readers of images are not shown the reports: leave --with-text out")
    if sample.level == "report":
        return {each.accession_number: each.text for each in numbered_reports(session, subjects)}
    if file is None:
        raise Permanent("the sample is of a file of reports: --reports names it for --with-text")
    return dict(read_reports(file, encoding))


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise Permanent(f"{path.name} exists already; it was not changed")

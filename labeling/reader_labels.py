"""What human readers say together, and whether it may calibrate, gate or test.

A reference that deserves the name was drawn (a stored sample), read blinded to machines, and is
settled: the readers whom the sample asks for agree, or an adjudicator decided. What a file claims
of its sampling counts for nothing here; only being tied to a stored sample does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlmodel import Session, col, select

from dicom_node.database import chunks
from labeling.models import ReferenceLabel
from labeling.reference_file import ADJUDICATOR, Place, agreed_state, settling
from labeling.reference_samples import Membership, memberships
from labeling.vocabulary import State

OF_NO_SAMPLE = "of no stored sample"
NOT_BLINDED = "not blinded"
IN_DISPUTE = "disputed and not adjudicated"
TOO_FEW = "read by fewer readers than the sample asks for"


@dataclass(frozen=True)
class ReaderLabel:
    """What the readers of one subject say of one observation at one site.

    Where some of them read it for a stored sample and blinded, those alone are heard, of the newest
    sample: what others say of it neither adds to the sample's reading nor takes away from it.

    Args:
        state: None where they disagree and nobody adjudicated: that is no truth.
        severity: where all who name one name the same.
        quotes: words of the report on which those rest who gave a quote.
        ids: rows of the reference labels.
        blinded: "yes" or "no" where all readers said the same of it, else empty.
        sampling: in the same way how the report came to be read.
        sample: digest of the stored sample that it was read for; empty: of none.
        settled: an adjudicator decided, or as many readers as the sample asks for agree.
        weight: one over the probability of being drawn; None: of no sample.
        stratum: of which sample and stratum, for resampling.
    """

    state: State | None
    severity: str = ""
    quotes: tuple[str, ...] = ()
    ids: tuple[int, ...] = ()
    readers: tuple[str, ...] = ()
    blinded: str = ""
    sampling: str = ""
    sample: str = ""
    settled: bool = False
    weight: float | None = None
    stratum: str = ""

    @property
    def lacks(self) -> str:
        """Return why it may not calibrate, gate or test; empty where it may."""
        reasons = (
            (not self.sample, OF_NO_SAMPLE),
            (self.blinded != "yes", NOT_BLINDED),
            (self.state is None, IN_DISPUTE),
            (not self.settled, TOO_FEW),
        )
        return next((reason for applies, reason in reasons if applies), "")


def reference_states(
    session: Session,
    level: str,
    subjects: Iterable[str] | None = None,
    *,
    deserving: bool = False,
) -> dict[str, dict[Place, State | None]]:
    """Return by subject what the readers say; None where readers disagree: that is no truth.

    Args:
        session: any session.
        level: "report", "image" or "file".
        subjects: accession numbers, Study Instance UIDs or ids; None: all that have labels.
        deserving: None, too, where a label may not calibrate, gate or test; subjects of which none
            may are left out.
    """
    return {
        subject: {
            place: None if deserving and label.lacks else label.state
            for place, label in places.items()
        }
        for subject, places in reader_labels(session, level, subjects).items()
        if not deserving or any(not label.lacks for label in places.values())
    }


def reader_labels(
    session: Session, level: str, subjects: Iterable[str] | None = None
) -> dict[str, dict[Place, ReaderLabel]]:
    """Return by subject and place what the readers say together; arguments as above."""
    rows: dict[str, dict[Place, list[ReferenceLabel]]] = {}
    for label in labels_of(session, level, subjects):
        places = rows.setdefault(label.subject, {})
        places.setdefault((label.observation, label.site), []).append(label)
    samples = memberships(session, level)
    return {
        subject: {
            place: together(labels, samples.get(subject, {})) for place, labels in places.items()
        }
        for subject, places in rows.items()
    }


def together(labels: Sequence[ReferenceLabel], samples: Mapping[str, Membership]) -> ReaderLabel:
    """Return what labels of one place say together.

    Args:
        labels: of one subject at one place.
        samples: by digest, those of which the subject is.
    """
    member = newest_sample(labels, samples)
    heard = heard_for(labels, member)
    deciding = settling(heard)
    readers = {each.reader for each in heard}
    adjudicated = any(each.role == ADJUDICATOR for each in heard)
    return ReaderLabel(
        state=agreed_state(heard),
        severity=_only({each.severity for each in deciding} - {""}),
        quotes=tuple(each.quote for each in deciding if each.quote),
        ids=tuple(each.id for each in heard if each.id is not None),
        readers=tuple(sorted(readers)),
        blinded=_only({each.blinded for each in heard}),
        sampling=_only({each.sampling for each in heard}),
        sample="" if member is None else member.sample,
        settled=member is not None and (adjudicated or len(readers) >= member.readers),
        weight=None if member is None else 1 / member.probability,
        stratum="" if member is None else f"{member.sample}/{member.stratum}",
    )


def newest_sample(
    labels: Iterable[ReferenceLabel], samples: Mapping[str, Membership]
) -> Membership | None:
    """Return the newest sample for which one of the labels was given; None where none was."""
    tied = {each.sample_digest for each in labels} & samples.keys()
    return max((samples[digest] for digest in tied), key=lambda each: each.row, default=None)


def heard_for(labels: Sequence[ReferenceLabel], member: Membership | None) -> list[ReferenceLabel]:
    """Return those labels that were given for a sample, the blinded ones where there are some."""
    if member is None:
        return list(labels)
    own = [each for each in labels if each.sample_digest == member.sample]
    return [each for each in own if each.blinded == "yes"] or own


def labels_of(
    session: Session, level: str, subjects: Iterable[str] | None = None
) -> Iterator[ReferenceLabel]:
    """Yield the rows of a level, in the order in which they came."""
    query = (
        select(ReferenceLabel).where(ReferenceLabel.level == level).order_by(col(ReferenceLabel.id))
    )
    if subjects is None:
        yield from session.exec(query)
        return
    for batch in chunks(sorted(set(subjects))):
        yield from session.exec(query.where(col(ReferenceLabel.subject).in_(batch)))


def _only(values: set[str]) -> str:
    return next(iter(values)) if len(values) == 1 else ""

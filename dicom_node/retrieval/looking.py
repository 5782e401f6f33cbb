"""Which study of an archive is meant by a row, and which earlier ones belong to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from dicom_node.errors import NeedsReview, Permanent
from dicom_node.retrieval.answers import ImageFound, StudyFound
from dicom_node.retrieval.finding import Finder, TooMany
from dicom_node.retrieval.models import Retrieval

_MOST_CANDIDATES = 20


@dataclass(frozen=True)
class Issuers:
    """Whose identifiers an archive's answers hold where they do not say it, and their names.

    Attributes:
        of_patient_id, of_accession_number: assumed where the archive is silent.
        name_of: one name for all names of an issuer.
    """

    of_patient_id: str = ""
    of_accession_number: str = ""
    name_of: Callable[[str], str] = str

    def named(self, study: StudyFound) -> StudyFound:
        """Return an answer with its issuers, stated or assumed, by their one name."""
        return self.stated(
            replace(
                study,
                issuer_of_patient_id=study.issuer_of_patient_id or self.of_patient_id,
                issuer_of_accession_number=(
                    study.issuer_of_accession_number or self.of_accession_number
                ),
            )
        )

    def stated(self, study: StudyFound) -> StudyFound:
        """Return an answer with the issuers that the archive states by their one name."""
        patient, accession = study.issuer_of_patient_id, study.issuer_of_accession_number
        return replace(
            study,
            issuer_of_patient_id=self.name_of(patient) if patient else "",
            issuer_of_accession_number=self.name_of(accession) if accession else "",
        )


@dataclass(frozen=True)
class Reference:
    """A study whose priors are looked for."""

    study: StudyFound
    body_parts: frozenset[str] = frozenset()


class Several(NeedsReview):
    """More than one study has the accession number."""


class TooLarge(Permanent):
    """A study has more series or instances than an archive's answers may have."""


def look_up(finder: Finder, row: Retrieval, issuers: Issuers) -> StudyFound | None:
    """Return the study of the archive that a row means; None: it holds none.

    Raises:
        Several: the accession number has several studies.
        NeedsReview: the archive does not say whose accession number its answer holds.
        Permanent, Transient: as :meth:`Finder.studies`.
    """
    found = finder.studies(
        study_instance_uid=row.study_instance_uid,
        accession_number=row.accession_number,
        patient_id=row.patient_id,
    )
    found = [issuers.named(each) for each in found]
    if row.issuer_of_accession_number:
        if any(not each.issuer_of_accession_number for each in found):
            raise NeedsReview(
                "the archive does not say whose accession number it holds: set "
                "issuer_of_accession_number of the [[pacs]]"
            )
        wanted = issuers.name_of(row.issuer_of_accession_number)
        found = [each for each in found if each.issuer_of_accession_number == wanted]
    if len(found) > 1:
        raise Several(f"the archive holds {len(found)} studies with this accession number")
    return found[0] if found else None


def content_of(finder: Finder, study: StudyFound, most: int) -> tuple[ImageFound, ...] | None:
    """Return what a study consists of, at most ``most`` instances and one more.

    None where the archive answers at study level alone, or names no instances.

    Raises:
        TooLarge: there are more series or instances than may be answered.
        Transient: as :meth:`Finder.studies`.
    """
    try:
        return tuple(finder.content(study, most)) or None
    except TooMany as error:
        raise TooLarge(str(error)) from error
    except Permanent:
        return None


def priors_of_found(
    finder: Finder, study: StudyFound, issuers: Issuers, number: int
) -> tuple[list[StudyFound], str]:
    """Return the priors of a study of the archive, as :func:`find_priors`, or why there are none.

    An archive that answers at study level alone, or cannot be asked about the patient, names none.

    Raises:
        Transient: as :meth:`Finder.studies`.
    """
    try:
        return find_priors(finder, reference_to(finder, study), issuers, number)
    except Permanent as error:
        return [], f"no priors can be looked for: {error}"


def reference_to(finder: Finder, study: StudyFound) -> Reference:
    """Return a study of the archive as one whose priors are looked for.

    Not every archive tells Modalities in Study (0008,0061); its series do.
    """
    series = finder.series(study)
    modalities = study.modalities or tuple(sorted({each.modality for each in series} - {""}))
    parts = frozenset(each.body_part.upper() for each in series if each.body_part)
    return Reference(replace(study, modalities=modalities), parts)


def find_priors(
    finder: Finder, reference: Reference, issuers: Issuers, number: int
) -> tuple[list[StudyFound], str]:
    """Return earlier studies of the same patient, the newest first, and why there are none.

    A prior has the same Patient ID of the same issuer, no other birth date or sex, an earlier Study
    Date, a modality of the study and, where both say one, a body part of it.

    Raises:
        Permanent, Transient: as :meth:`Finder.studies`.
    """
    now = reference.study
    if not (now.patient_id and now.issuer_of_patient_id):
        return [], "priors need a Patient ID and its issuer"
    if not _is_date(now.study_date):
        return [], "priors need a Study Date"
    answers = [issuers.named(each) for each in finder.studies(patient_id=now.patient_id)]
    earlier = [each for each in answers if _is_earlier(each, now)]
    found: list[StudyFound] = []
    newest = sorted(earlier, key=lambda each: (each.study_date, each.study_instance_uid))
    for each in newest[::-1][:_MOST_CANDIDATES]:
        if len(found) == number:
            break
        if _fits(finder, each, reference):
            found.append(each)
    return found, "" if found else "the archive holds no earlier study that fits"


def _is_earlier(each: StudyFound, now: StudyFound) -> bool:
    same = (each.patient_id, each.issuer_of_patient_id) == (
        now.patient_id,
        now.issuer_of_patient_id,
    )
    if not same or each.study_instance_uid == now.study_instance_uid:
        return False
    if _differ(each.patient_birth_date, now.patient_birth_date):
        return False
    if _differ(each.patient_sex, now.patient_sex):
        return False
    return _is_date(each.study_date) and each.study_date < now.study_date


def _fits(finder: Finder, each: StudyFound, reference: Reference) -> bool:
    theirs = reference_to(finder, each)
    if not {*theirs.study.modalities} & {*reference.study.modalities}:
        return False
    parts = theirs.body_parts, reference.body_parts
    return not all(parts) or not parts[0].isdisjoint(parts[1])


def _differ(one: str, other: str) -> bool:
    return bool(one and other and one != other)


def _is_date(text: str) -> bool:
    return len(text) == 8 and text.isascii() and text.isdigit()

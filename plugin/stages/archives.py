"""The archives of the settings: how they are asked, and our own studies in their terms."""

from __future__ import annotations

from collections.abc import Callable

from sqlmodel import Session, select

from dicom_node.archive_settings import PacsPeer
from dicom_node.errors import InvalidSettings
from dicom_node.models import Series, Study
from dicom_node.retrieval.answers import StudyFound
from dicom_node.retrieval.archive import Archive
from dicom_node.retrieval.looking import Issuers, Reference
from dicom_node.tls import peer_context
from plugin.context import Context
from plugin.settings import Settings
from plugin.stages.ground import ground_of


def asked_peer(settings: Settings, name: str) -> PacsPeer:
    """Return an archive that may be asked; without a name the only one.

    Raises:
        InvalidSettings: there is none of this name, it has no ``retrieve``, or several have one.
    """
    if name:
        peer = settings.peer(name)
        if not peer.retrieve:
            raise InvalidSettings(f"[[pacs]] {name} has no retrieve: it is not asked for studies")
        return peer
    found = [peer for peer in settings.pacs if peer.retrieve]
    if not found:
        raise InvalidSettings(
            'no [[pacs]] has retrieve = "move" or "get": none may be asked for studies'
        )
    if len(found) > 1:
        raise InvalidSettings(
            f"{len(found)} [[pacs]] have retrieve: say with --from which one is asked"
        )
    return found[0]


def archive_of(
    context: Context, peer: PacsPeer, stopping: Callable[[], bool] | None = None
) -> Archive:
    """Return how an archive of the settings is asked, until the node is ending.

    Raises:
        InvalidSettings: it is to be asked with TLS, and that cannot be.
    """
    settings = context.settings
    return Archive(
        peer,
        settings.dicom.ae_title,
        peer_context(peer, settings.dicom.tls),
        stopping or context.stopping,
        response_seconds=settings.retrieval.response_seconds,
        total_seconds=settings.retrieval.study_seconds,
    )


def issuers_of(context: Context, peer: PacsPeer) -> Issuers:
    """Return whose identifiers an archive's answers hold."""
    dicom = context.settings.dicom
    return Issuers(
        peer.issuer_of_patient_id or dicom.default_issuer_of_patient_id,
        peer.issuer_of_accession_number or dicom.default_issuer_of_accession_number,
        ground_of(context.settings).name_of,
    )


def own_study(session: Session, study: Study, issuers: Issuers) -> StudyFound:
    """Return a study of ours as an archive would answer it, without what it assumes."""
    modalities = select(Series.modality).where(
        Series.study_instance_uid == study.study_instance_uid
    )
    patient, accession = study.issuer_of_patient_id, study.issuer_of_accession_number
    return StudyFound(
        study_instance_uid=study.study_instance_uid,
        patient_id=study.patient_id,
        issuer_of_patient_id=issuers.name_of(patient) if patient else "",
        patient_name=study.patient_name,
        patient_birth_date=study.patient_birth_date,
        patient_sex=study.patient_sex,
        accession_number=study.accession_number,
        issuer_of_accession_number=issuers.name_of(accession) if accession else "",
        study_date=study.study_date,
        modalities=tuple(sorted({*session.exec(modalities)} - {""})),
    )


def own_reference(session: Session, uid: str, issuers: Issuers) -> Reference | None:
    """Return a study of ours as one whose priors are looked for; None: it is not here."""
    study = session.get(Study, uid)
    if study is None:
        return None
    parts = session.exec(select(Series.body_part_examined).where(Series.study_instance_uid == uid))
    return Reference(
        own_study(session, study, issuers), frozenset(part.upper() for part in parts if part)
    )

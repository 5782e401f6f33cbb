"""Where the report on a request goes: to where the settings say that the asker listens, or nowhere.

A request names no port. The address that it came from is taken where the settings name a port and
no host, for senders that are known by a network.
"""

from __future__ import annotations

from collections.abc import Iterable

from dicom_node.admission import Admission, Applicant
from dicom_node.archive_settings import PacsPeer
from dicom_node.commitment.models import CommitmentRequest
from dicom_node.errors import InvalidSettings, Transient
from dicom_node.settings import DicomSettings


def report_address(
    request: CommitmentRequest, dicom: DicomSettings, archives: Iterable[PacsPeer]
) -> PacsPeer:
    """Return where the asker listens.

    It is the line of the AE table under which the asker was admitted, where that has a
    ``commitment_port``; else the archive with its AE title.

    Raises:
        InvalidSettings: the settings name no address for it.
        Transient: the host of its line could not be looked up.
    """
    applicant = Applicant(
        request.peer, request.called_ae_title, request.address, request.certificate
    )
    title = request.peer.strip(" ")
    lines = tuple(each for each in dicom.peers if each.ae_title == title)
    admission = Admission(dicom.model_copy(update={"peers": lines}))
    entry = admission.peer(applicant)
    if entry is None and any(each.commitment_port for each in admission.unknown):
        raise Transient("the host of its line in [[dicom.peers]] could not be looked up")
    if entry is not None and entry.commitment_port:
        return PacsPeer(
            name=f"commitment of {request.peer}"[:64],
            ae_title=entry.ae_title,
            host=entry.commitment_host or entry.host or request.address,
            port=entry.commitment_port,
            tls=entry.commitment_tls,
            check_host_name=entry.commitment_check_host_name,
        )
    for archive in archives:
        if archive.ae_title == request.peer:
            return archive
    raise InvalidSettings(
        "no address for its reports: set commitment_port in its [[dicom.peers]], or list it as "
        "[[pacs]]"
    )

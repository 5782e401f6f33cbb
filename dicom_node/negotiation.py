"""Association negotiation as acceptor (PS3.8 7.1 and PS3.7 annex D), encoded by pynetdicom.

Our contexts are those of a storage provider: every proposed SOP class that we negotiate is taken in
the transfer syntax that the peer names first, because objects are kept as they are sent.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pydicom.uid import UID
from pynetdicom import _config
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import PresentationContext

from dicom_node.file_meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.upper_layer import INVALID_PARAMETER, ProtocolViolation

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
VERIFICATION = "1.2.840.10008.1.1"

# Results of a presentation context (PS3.8 table 9-18).
_ACCEPTED, _NO_ABSTRACT_SYNTAX, _NO_TRANSFER_SYNTAX = 0, 3, 4
_MAXIMUM_CONTEXTS = 128


@dataclass(frozen=True)
class AcceptedContext:
    """A presentation context that both sides agreed on."""

    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True)
class AssociationRequest:
    """What a peer asks for; ``maximum_pdu_bytes`` is what it takes (0: any length)."""

    calling_ae_title: str
    called_ae_title: str
    maximum_pdu_bytes: int
    primitive: A_ASSOCIATE


def configure_library() -> None:
    """Set what the library only offers as globals of its own process."""
    # Its log lines repeat what a peer sent, identifiers included.
    _config.LOG_HANDLER_LEVEL = "none"
    # A malformed UID must not raise: the context that names it is refused like any other.
    _config.VALIDATORS["UI"] = lambda _value: (True, "")
    for name in ("pynetdicom", "pydicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def decode_request(pdu: bytes) -> AssociationRequest:
    """Decode an A-ASSOCIATE-RQ.

    Raises:
        ProtocolViolation: it cannot be decoded, or it repeats or exceeds what it may hold.
    """
    decoded = A_ASSOCIATE_RQ()
    try:
        decoded.decode(pdu)
        primitive = decoded.to_primitive()
        contexts = primitive.presentation_context_definition_list
        maximum = primitive.maximum_length_received or 0
        request = AssociationRequest(
            calling_ae_title=str(primitive.calling_ae_title).strip(),
            called_ae_title=str(primitive.called_ae_title).strip(),
            maximum_pdu_bytes=int(maximum),
            primitive=primitive,
        )
        numbers = [context.context_id for context in contexts]
        complete = all(context.abstract_syntax and context.transfer_syntax for context in contexts)
    except Exception as error:  # whatever the library meets in hostile bytes
        kind = type(error).__name__
        raise ProtocolViolation(
            INVALID_PARAMETER, f"an association request cannot be decoded ({kind})"
        ) from error
    if not complete or not 0 < len(numbers) <= _MAXIMUM_CONTEXTS:
        raise ProtocolViolation(INVALID_PARAMETER, "an association request lacks contexts")
    if len(set(numbers)) < len(numbers):
        raise ProtocolViolation(INVALID_PARAMETER, "a presentation context id is repeated")
    return request


def agree(
    request: AssociationRequest,
    sop_classes: Collection[str],
    transfer_syntaxes: Collection[str],
    maximum_pdu_bytes: int,
) -> tuple[bytes, Mapping[int, AcceptedContext]]:
    """Return the A-ASSOCIATE-AC and the contexts that it accepts, by presentation context id."""
    results: list[PresentationContext] = []
    accepted: dict[int, AcceptedContext] = {}
    for proposed in request.primitive.presentation_context_definition_list:
        abstract = str(proposed.abstract_syntax)
        offered = [str(syntax) for syntax in proposed.transfer_syntax]
        chosen = next((syntax for syntax in offered if syntax in transfer_syntaxes), None)
        if abstract not in sop_classes and abstract != VERIFICATION:
            result = _NO_ABSTRACT_SYNTAX
        elif chosen is None:
            result = _NO_TRANSFER_SYNTAX
        else:
            result = _ACCEPTED
            accepted[int(proposed.context_id)] = AcceptedContext(abstract, chosen)
        answer = PresentationContext()
        answer.context_id = proposed.context_id
        answer.abstract_syntax = UID(abstract)
        answer.transfer_syntax = [UID(chosen or offered[0])]
        answer.result = result
        results.append(answer)
    return _encode_accept(request, results, maximum_pdu_bytes), accepted


def _encode_accept(
    request: AssociationRequest, results: list[PresentationContext], maximum_pdu_bytes: int
) -> bytes:
    primitive = A_ASSOCIATE()
    primitive.application_context_name = UID(APPLICATION_CONTEXT)
    # The standard has the titles of the request repeated here, untested by the peer.
    primitive.calling_ae_title = request.primitive.calling_ae_title
    primitive.called_ae_title = request.primitive.called_ae_title
    primitive.result = 0
    primitive.result_source = 1
    primitive.presentation_context_definition_results_list = results
    primitive.user_information = _user_information(maximum_pdu_bytes)
    accept = A_ASSOCIATE_AC()
    accept.from_primitive(primitive)
    return bytes(accept.encode())


def _user_information(maximum_pdu_bytes: int) -> list[Any]:
    length = MaximumLengthNotification()
    length.maximum_length_received = maximum_pdu_bytes
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    return [length, implementation, version]

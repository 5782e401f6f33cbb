"""Association negotiation as acceptor (PS3.8 sections 7.1, 9.3.2, 9.3.3 and annex D).

Our contexts are those of a storage provider: every proposed SOP class that we negotiate is taken in
the transfer syntax that the peer names first, because objects are kept as they are sent. Storage
Commitment is taken in little endian alone, in the roles that the peer selects (PS3.7 D.3.3.4).

Anybody who can connect may send a request, before it is known who that is. So each byte of it is
walked over once, nothing of it is interpreted but what is needed, and nothing of it is kept.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from dicom_node.commitment.vocabulary import STORAGE_COMMITMENT
from dicom_node.commitment.vocabulary import TRANSFER_SYNTAXES as COMMITMENT_SYNTAXES
from dicom_node.file_meta import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from dicom_node.sop_classes import VERIFICATION
from dicom_node.upper_layer import ASSOCIATE_AC, INVALID_PARAMETER, ProtocolViolation

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"

# Item and sub-item types (PS3.8 9.3.2 and 9.3.3, annex D; PS3.7 D.3.3); all others are skipped.
_APPLICATION_CONTEXT_ITEM = 0x10
_CONTEXT_RQ, _CONTEXT_AC = 0x20, 0x21
_ABSTRACT_SYNTAX, _TRANSFER_SYNTAX = 0x30, 0x40
_USER_INFORMATION, _MAXIMUM_LENGTH = 0x50, 0x51
_IMPLEMENTATION_CLASS, _ROLE_SELECTION, _IMPLEMENTATION_VERSION = 0x52, 0x54, 0x55

# Results of a presentation context (PS3.8 table 9-18).
_ACCEPTED, _NO_ABSTRACT_SYNTAX, _NO_TRANSFER_SYNTAX = 0, 3, 4

# Header, protocol version, called and calling AE title, reserved bytes (PS3.8 table 9-11).
_FIXED = struct.Struct(">6xHxx16s16s32x")
_ECHOED = slice(10, 74)


@dataclass(frozen=True)
class ProposedContext:
    """A presentation context as proposed; the UIDs are whatever the peer sent."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True)
class Roles:
    """In which roles the requestor wants to be, or may be."""

    user: bool
    provider: bool


@dataclass(frozen=True)
class AcceptedContext:
    """A presentation context that both sides agreed on; the peer's roles where it selected them."""

    abstract_syntax: str
    transfer_syntax: str
    roles: Roles | None = None


@dataclass(frozen=True)
class AssociationRequest:
    """What a peer asks for.

    Attributes:
        calling_ae_title: without padding; printable ASCII, not empty.
        called_ae_title: likewise.
        maximum_pdu_bytes: the longest P-DATA-TF that the peer takes; 0: any length.
        contexts: what it proposes, each context id once.
        echoed: bytes 11 to 74, which the answer repeats.
        roles: those that it selects for Storage Commitment; None where it selects none.
    """

    calling_ae_title: str
    called_ae_title: str
    maximum_pdu_bytes: int
    contexts: tuple[ProposedContext, ...]
    echoed: bytes
    roles: Roles | None = None


def decode_request(pdu: bytes) -> AssociationRequest:
    """Decode an A-ASSOCIATE-RQ.

    Raises:
        ProtocolViolation: it cannot be decoded, proposes nothing, or a context id twice.
    """
    if len(pdu) < _FIXED.size:
        raise _malformed()
    _, called, calling = _FIXED.unpack_from(pdu)
    contexts: dict[int, ProposedContext] = {}
    maximum, roles = 0, None
    for kind, value in _items(pdu[_FIXED.size :]):
        if kind == _CONTEXT_RQ:
            context = _proposed_context(value)
            if context.context_id in contexts:
                raise ProtocolViolation(INVALID_PARAMETER, "a presentation context id is repeated")
            contexts[context.context_id] = context
        elif kind == _USER_INFORMATION:
            maximum, roles = _user_information_of(value)
    if not contexts:
        raise ProtocolViolation(INVALID_PARAMETER, "an association request lacks contexts")
    return AssociationRequest(
        calling_ae_title=_ae_title(calling),
        called_ae_title=_ae_title(called),
        maximum_pdu_bytes=maximum,
        contexts=tuple(contexts.values()),
        echoed=pdu[_ECHOED],
        roles=roles,
    )


def agree(
    request: AssociationRequest,
    sop_classes: Collection[str],
    transfer_syntaxes: Collection[str],
    maximum_pdu_bytes: int,
) -> tuple[bytes, Mapping[int, AcceptedContext]]:
    """Return the A-ASSOCIATE-AC and the contexts that it accepts, by presentation context id."""
    results: list[bytes] = []
    accepted: dict[int, AcceptedContext] = {}
    for proposed in request.contexts:
        abstract = proposed.abstract_syntax
        is_commitment = abstract == STORAGE_COMMITMENT
        taken = COMMITMENT_SYNTAXES if is_commitment else transfer_syntaxes
        chosen = next((each for each in proposed.transfer_syntaxes if each in taken), "")
        if not is_commitment and abstract not in sop_classes and abstract != VERIFICATION:
            result = _NO_ABSTRACT_SYNTAX
        elif not chosen:
            result = _NO_TRANSFER_SYNTAX
        else:
            result = _ACCEPTED
            roles = request.roles if is_commitment else None
            accepted[proposed.context_id] = AcceptedContext(abstract, chosen, roles)
        # Where a context is refused its transfer syntax says nothing, but has to be there.
        syntax = _text_item(_TRANSFER_SYNTAX, chosen or IMPLICIT_VR_LITTLE_ENDIAN)
        results.append(_item(_CONTEXT_AC, bytes((proposed.context_id, 0, result, 0)) + syntax))
    body = b"".join(
        (
            struct.pack(">Hxx", 1),
            request.echoed,
            _text_item(_APPLICATION_CONTEXT_ITEM, APPLICATION_CONTEXT),
            *results,
            _user_information(maximum_pdu_bytes, _agreed_roles(accepted)),
        )
    )
    return struct.pack(">BxL", ASSOCIATE_AC, len(body)) + body, accepted


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and value of each item or sub-item: type, reserved byte, length, value."""
    position = 0
    while position < len(data):
        if position + 4 > len(data):
            raise _malformed()
        kind, length = struct.unpack_from(">BxH", data, position)
        position += 4
        if position + length > len(data):
            raise _malformed()
        yield kind, data[position : position + length]
        position += length


def _proposed_context(value: bytes) -> ProposedContext:
    """Read a presentation context: id, three reserved bytes, sub-items (PS3.8 9.3.2.2)."""
    subs = list(_items(value[4:]))
    abstract = [_uid(each) for kind, each in subs if kind == _ABSTRACT_SYNTAX]
    transfer = tuple(_uid(each) for kind, each in subs if kind == _TRANSFER_SYNTAX)
    if len(abstract) != 1 or not transfer or not value[0] & 1:
        raise ProtocolViolation(INVALID_PARAMETER, "a presentation context is not well formed")
    return ProposedContext(value[0], abstract[0], transfer)


def _user_information_of(value: bytes) -> tuple[int, Roles | None]:
    """Return the maximum length that is taken and the roles for Storage Commitment."""
    maximum, roles = 0, None
    for kind, each in _items(value):
        if kind == _MAXIMUM_LENGTH and not maximum:
            if len(each) != 4:
                raise _malformed()
            maximum = int.from_bytes(each, "big")
        elif kind == _ROLE_SELECTION and _is_about_commitment(each):
            if roles is not None or not {*each[-2:]} <= {0, 1}:
                raise ProtocolViolation(INVALID_PARAMETER, "a role selection is not well formed")
            roles = Roles(user=bool(each[-2]), provider=bool(each[-1]))
    return maximum, roles


def _is_about_commitment(value: bytes) -> bool:
    """Tell whether a role selection (PS3.7 table D.3-9) is about the class that knows roles."""
    if len(value) < 4 or int.from_bytes(value[:2], "big") != len(value) - 4:
        raise _malformed()
    return _uid(value[2:-2]) == STORAGE_COMMITMENT


def _agreed_roles(accepted: Mapping[int, AcceptedContext]) -> bytes:
    """Return the answer to a role selection: every role that was asked for, of what is accepted."""
    roles = next((each.roles for each in accepted.values() if each.roles is not None), None)
    if roles is None:
        return b""
    name = STORAGE_COMMITMENT.encode("ascii")
    return _item(
        _ROLE_SELECTION,
        struct.pack(">H", len(name)) + name + bytes((roles.user, roles.provider)),
    )


def _uid(value: bytes) -> str:
    return value.decode("latin-1").rstrip("\0 ")


def _ae_title(value: bytes) -> str:
    """Read a title (PS3.8 table 9-11); spaces around it are not significant, some pad with NUL."""
    title = value.decode("latin-1").strip(" \0")
    if not title or not all(" " <= each <= "~" and each != "\\" for each in title):
        raise ProtocolViolation(INVALID_PARAMETER, "an AE title is empty or holds odd characters")
    return title


def _malformed() -> ProtocolViolation:
    return ProtocolViolation(INVALID_PARAMETER, "an association request cannot be decoded")


def _user_information(maximum_pdu_bytes: int, roles: bytes) -> bytes:
    return _item(
        _USER_INFORMATION,
        _item(_MAXIMUM_LENGTH, struct.pack(">L", maximum_pdu_bytes))
        + _text_item(_IMPLEMENTATION_CLASS, IMPLEMENTATION_CLASS_UID)
        + roles
        + _text_item(_IMPLEMENTATION_VERSION, IMPLEMENTATION_VERSION_NAME),
    )


def _text_item(kind: int, text: str) -> bytes:
    return _item(kind, text.encode("ascii"))


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value

"""D13: who may open an association, and for what."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from tests.acceptance.hostile.findings import NOT_APPLICABLE, Finding, verdict
from tests.acceptance.hostile.stage import Stage
from tests.acceptance.hostile.targets import Orthanc, Radloop
from tests.raw_dicom import RawAssociation

_ACCEPT, _REJECT, _TRANSIENT = 2, 3, 2
_ROOM_SECONDS = 40.0
IMPLICIT = "1.2.840.10008.1.2"
_QUERY_RETRIEVE = {
    "C-FIND": ("1.2.840.10008.5.1.4.1.2.1.1", "1.2.840.10008.5.1.4.1.2.2.1"),
    "C-MOVE": ("1.2.840.10008.5.1.4.1.2.1.2", "1.2.840.10008.5.1.4.1.2.2.2"),
    "C-GET": ("1.2.840.10008.5.1.4.1.2.1.3", "1.2.840.10008.5.1.4.1.2.2.3"),
    "worklist": ("1.2.840.10008.5.1.4.31",),
}
_ADDRESSES = ("127.0.0.1", "127.0.0.3", "127.0.0.4", "127.0.0.5")
_KNOWN = {"MODALITY": "127.0.0.1", "MR1": "127.0.0.3"}
_CALLING = ("MODALITY", "MR1", "mr1", "MR1 X", "MR", "STRANGER", "", "MR1\\CT1")

RADLOOP_OPTIONS = {
    "dicom": "accept_unknown_peers = false",
    "tail": "".join(
        f'\n[[dicom.peers]]\nae_title = "{title}"\nhost = "{host}"\n'
        for title, host in _KNOWN.items()
    ),
}
ORTHANC_OPTIONS: dict[str, Any] = {
    "DicomCheckCalledAet": True,
    "StrictAetComparison": True,
    "DicomAlwaysAllowEcho": False,
    "DicomAlwaysAllowStore": False,
    "DicomCheckModalityHost": True,
    "DicomModalities": {title: [title, host, 104] for title, host in _KNOWN.items()},
}


@dataclass(frozen=True)
class _Identity:
    calling: str
    called: str
    address: str

    def welcome(self, called: str) -> bool:
        return self.called == called and _KNOWN.get(self.calling) == self.address


def identities(stage: Stage) -> Iterator[Finding]:
    """D13: sixty-four identities, two of them right; and services that nobody asked for."""
    yield _services(stage)
    yield _matrix(stage)


def options(stage: Stage) -> dict[str, Any] | None:
    """Return the start options that make a target strict; None where it has none."""
    if isinstance(stage.target, Radloop):
        return RADLOOP_OPTIONS
    return ORTHANC_OPTIONS if isinstance(stage.target, Orthanc) else None


def _matrix(stage: Stage) -> Finding:
    called = stage.target.called
    wrong_accepts, wrong_refusals, total = [], 0, 0
    strict = options(stage)
    if not stage.target.host.startswith("127."):
        return Finding("D13", "identities", "", "no addresses to come from", "", NOT_APPLICABLE)
    for calling, title, address in product(_CALLING, (called, "WRONG"), _ADDRESSES):
        who = _Identity(calling, title, address)
        total += 1
        accepted = _enters(stage, who)
        if accepted and not who.welcome(called):
            wrong_accepts.append(who)
        wrong_refusals += who.welcome(called) and not accepted
    how = "by its allow-list" if strict is not None else "it has no allow-list"
    return Finding(
        "D13",
        "identities: calling AE title, called AE title, address",
        "only the two that are known at their addresses",
        f"{total} identities, {how}; refused though known: {wrong_refusals}",
        f"wrong accepts {len(wrong_accepts)} of {total - len(_KNOWN)}",
        verdict(not wrong_accepts and not wrong_refusals),
    )


def _enters(stage: Stage, who: _Identity) -> bool:
    try:
        association = _answered(stage, calling=who.calling, called=who.called, source=who.address)
    except OSError:
        return False
    with association:
        if association.answer == _ACCEPT:
            association.release()
            return True
        return False


def _answered(stage: Stage, **names: Any) -> RawAssociation:
    """Open an association; a transient rejection is about room, not about who asks.

    Raises:
        OSError: there is no answer, or only transient rejections.
    """
    deadline = time.monotonic() + _ROOM_SECONDS
    while time.monotonic() < deadline:
        association = stage.associate(**names)
        if association.answer != _REJECT or association.body[1] != _TRANSIENT:
            return association
        association.socket.close()
        time.sleep(0.2)
    raise ConnectionError("no room")


def _services(stage: Stage) -> Finding:
    contexts = [(uid, IMPLICIT) for uids in _QUERY_RETRIEVE.values() for uid in uids]
    names = [name for name, uids in _QUERY_RETRIEVE.items() for _ in uids]
    with _answered(stage, contexts=contexts, calling="MODALITY", source="") as association:
        results = association.accepted
        if association.answer == _ACCEPT:
            association.release()
    taken = {name for number, name in enumerate(names) if results.get(2 * number + 1) == 0}
    return Finding(
        "D13",
        "query and retrieve by whoever may store",
        "C-FIND, C-MOVE, C-GET and worklist are not accepted",
        "accepted: " + (", ".join(sorted(taken)) or "none"),
        f"{len(taken)} of {len(_QUERY_RETRIEVE)} services",
        verdict(not taken),
    )

"""The messages of both sites as bytes, written out by hand and not by the product's builders."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.acceptance.adversarial.sites import Site

ESCAPES = str.maketrans({"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "~": "\\R\\", "&": "\\T\\"})


@dataclass(frozen=True, slots=True)
class Pid:
    """What PID says; ``issuer`` empty: CX.4 is missing."""

    patient_id: str
    issuer: str
    name: str
    birth_date: str
    sex: str
    national_id: str = ""

    def segment(self) -> str:
        """The segment."""
        repetitions = f"{self.patient_id}^^^{self.issuer}^MR"
        if self.national_id:
            repetitions += f"~{self.national_id}^^^NATIONAL^NI"
        return f"PID|1||{repetitions}||{self.name}||{self.birth_date}|{self.sex}"


@dataclass(frozen=True, slots=True)
class Group:
    """One order group: its accession number as sent and the studies that it names."""

    accession: str = ""
    uids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Envelope:
    """MSH of one message."""

    site: Site
    system: str
    message_type: str
    control_id: str
    sent: dt.datetime
    version: str = "2.5.1"
    charset: str | None = None

    def segment(self) -> str:
        """The segment."""
        charset = self.site.charset if self.charset is None else self.charset
        sent = stamp(self.site, self.sent)
        return (
            f"MSH|^~\\&|{self.system}|{self.site.name}|RADLOOP|RESEARCH|{sent}"
            f"||{self.message_type}|{self.control_id}|P|{self.version}||||||{charset}"
        )


def stamp(site: Site, time: dt.datetime) -> str:
    """A time as the site writes it (TS, DTM), to the second."""
    return f"{time:%Y%m%d%H%M%S}{site.zone}"


@dataclass(frozen=True, slots=True)
class Result:
    """What an ORU^R01 says beside MSH and PID.

    Args:
        status: OBR-25, as the site writes it; ``line_status`` is OBX-11.
        lines: text of OBX-5, not escaped; ``addendum`` lines carry the suffix ADT.
    """

    placer: str
    filler: str
    groups: Sequence[Group]
    observed: dt.datetime
    changed: dt.datetime
    modality: str
    status: str
    line_status: str
    lines: Sequence[str]
    addendum: Sequence[str] = ()


def oru(envelope: Envelope, pid: Pid, result: Result, codec: str = "") -> bytes:
    """Build an ORU^R01; the text stands in the first order group."""
    site = envelope.site
    procedure = f"{result.modality}SP^{result.modality} lumbar spine^L"
    segments = [envelope.segment(), pid.segment()]
    issuer = f"^{site.order_issuer}"
    for number, group in enumerate(result.groups, start=1):
        suffix = "" if number == 1 else f"-{number}"
        placer = f"{result.placer}{suffix}{issuer}" if result.placer else ""
        filler = f"{result.filler}{suffix}{issuer}"
        segments += [
            f"ORC|RE|{placer}|{filler}",
            f"OBR|{number}|{placer}|{filler}|{procedure}|||"
            f"{stamp(site, result.observed)}|||||||||||{group.accession}||||"
            f"{stamp(site, result.changed)}||{result.modality}|{result.status}",
        ]
        texts = []
        if site.uid_segment == "OBX":
            texts += [f"ST|113014^DICOM Study^DCM||{uid}||||||O" for uid in group.uids]
        if number == 1:
            texts += [_line("GDT", each, result.line_status) for each in result.lines]
            texts += [_line("ADT", each, result.line_status) for each in result.addendum]
        segments += [f"OBX|{place}|{rest}" for place, rest in enumerate(texts, start=1)]
        if site.uid_segment == "ZDS":
            segments += [f"ZDS|{uid}^RADLOOP^Application^DICOM" for uid in group.uids]
    return _bytes(segments, codec or site.codec)


def _line(suffix: str, text: str, status: str) -> str:
    return f"TX|18782-3&{suffix}^Report^LN||{text.translate(ESCAPES)}||||||{status}"


def order(
    envelope: Envelope,
    pid: Pid,
    placer: str,
    filler: str,
    accession: str,
    uid: str,
    modality: str,
    control: str = "NW",
) -> bytes:
    """Build an order: OMI^O23 with IPC, or ORM^O01 of version 2.3.1 with ZDS."""
    site = envelope.site
    placer, filler = f"{placer}^{site.order_issuer}", f"{filler}^{site.order_issuer}"
    procedure = f"{modality}SP^{modality} lumbar spine^L"
    time = stamp(site, envelope.sent)
    head = [envelope.segment(), pid.segment(), f"ORC|{control}|{placer}|{filler}||SC||||{time}"]
    if envelope.message_type.startswith("OMI"):
        rest = [
            f"TQ1|1||||||{time}",
            f"OBR|1|{placer}|{filler}|{procedure}",
            f"IPC|{accession}|RP{filler}|{uid}|SPS1|{modality}",
        ]
    else:
        rest = [
            f"OBR|1|{placer}|{filler}|{procedure}||||||||||||||{accession}||||||{modality}",
            f"ZDS|{uid}^RADLOOP^Application^DICOM",
        ]
    return _bytes(head + rest, site.codec)


def patient_update(envelope: Envelope, pid: Pid) -> bytes:
    """Build an ADT^A04, A08 or A31."""
    return _adt(envelope, [pid.segment()])


def patient_merge(envelope: Envelope, survivor: Pid, prior: Pid) -> bytes:
    """Build an ADT^A40, A34 or A47: PID-3 survives, MRG-1 is the prior id."""
    mrg = f"MRG|{prior.patient_id}^^^{prior.issuer}^MR||||||{prior.name}"
    return _adt(envelope, [survivor.segment(), mrg])


def patient_unlink(envelope: Envelope, one: Pid, other: Pid) -> bytes:
    """Build an ADT^A37: two patients that were one are two again."""
    return _adt(envelope, [one.segment(), other.segment()])


def _adt(envelope: Envelope, segments: Iterable[str]) -> bytes:
    event = envelope.message_type.split("^")[1]
    evn = f"EVN|{event}|{stamp(envelope.site, envelope.sent)}"
    return _bytes([envelope.segment(), evn, *segments], envelope.site.codec)


def _bytes(segments: Iterable[str], codec: str) -> bytes:
    return ("\r".join(segments) + "\r").encode(codec)

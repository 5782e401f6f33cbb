"""D8, D9, D10 and D12: data sets that hurt whoever reads them."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from pydicom.uid import UID, AllTransferSyntaxes
from sqlmodel import col, select

from dicom_node.models import Instance
from plugin.context import open_for_reading
from plugin.settings import load_settings
from tests.acceptance.hostile.findings import NOT_APPLICABLE, Finding, verdict
from tests.acceptance.hostile.objects import (
    DEFLATED,
    MR,
    UNDEFINED,
    Sample,
    element,
    encapsulated,
    nested,
    nested_defined,
    sample,
)
from tests.acceptance.hostile.observe import MIB, alive
from tests.acceptance.hostile.stage import Stage, counted, mebibytes
from tests.acceptance.hostile.targets import Radloop
from tests.builders import uid

_DEFLATING = (DEFLATED, "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205")
_BOMB_GROWTH = 16 * MIB
_FRAME_DEFLATED = "1.2.840.10008.1.2.8.1"


def deflate_bomb(stage: Stage) -> Iterator[Finding]:
    """D8: a data set of half a megabyte that becomes gigabytes."""
    with stage.associate([(MR, syntax) for syntax in _DEFLATING]) as association:
        taken = [
            syntax
            for number, syntax in enumerate(_DEFLATING)
            if association.accepted.get(2 * number + 1) == 0
        ]
    required = "not negotiated; or memory +<= 16 MiB"
    if DEFLATED not in taken:
        yield Finding(
            "D8",
            "deflate bomb",
            required,
            f"deflated syntaxes accepted: {len(taken)} of {len(_DEFLATING)}",
            "not negotiated",
            verdict(not taken),
        )
        return
    bomb, size = _bomb(stage.scale.bomb_bytes)
    with stage.memory() as peak:
        statuses = stage.store_all([bomb], DEFLATED)
        stage.kept()
    yield Finding(
        "D8",
        "deflate bomb",
        required,
        f"{size / 1024:.0f} KiB for {mebibytes(stage.scale.bomb_bytes)}; {counted(statuses)}",
        f"negotiated, {peak.grown}",
        verdict(peak.growth <= _BOMB_GROWTH, seen=stage.target.pid is not None),
    )


def _bomb(size: int) -> tuple[Sample, int]:
    head = sample(tail=element(0x7FE0, 0x0010, b"OW", b"", size))
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    parts = [squeeze.compress(head.data)]
    parts += [squeeze.compress(bytes(MIB)) for _ in range(size // MIB)]
    parts.append(squeeze.flush())
    data = b"".join(parts)
    return Sample(head.sop_instance, data + b"\0" * (len(data) % 2), head.token), len(data)


def nested_sequences(stage: Stage) -> Iterator[Finding]:
    """D9: sequences in sequences."""
    objects, depths = [], []
    for depth in stage.scale.depths:
        for extra in (nested(depth), nested(depth, closed=False), nested_defined(depth)):
            objects.append(sample(extra=extra))
            depths.append(depth)
    processes = set(stage.target.processes())
    with stage.memory() as peak:
        statuses = stage.store_all(objects)
        kept = stage.kept()
    acknowledged = [o.token for o, status in zip(objects, statuses, strict=True) if status == 0]
    lost = [token for token in acknowledged if kept is not None and token not in kept]
    unanswered = [depth for depth, status in zip(depths, statuses, strict=True) if status is None]
    lives = stage.target.pid is None or alive(stage.target.pid)
    gone = len(processes - set(stage.target.processes()))
    yield Finding(
        "D9",
        "nested sequences, depth " + "/".join(f"{depth:,}" for depth in stage.scale.depths),
        "alive; every object retained or refused with a status",
        f"answers: {counted(statuses)}"
        + (f"; no answer from depth {min(unanswered):,} on" if unanswered else "")
        + ("" if lives else "; it died")
        + (f"; {gone} processes gone" if gone else ""),
        f"lost {len(lost)} of {len(acknowledged)}, {peak.grown}",
        verdict(lives and not lost and not unanswered),
    )


def lying_contents(stage: Stage) -> Iterator[Finding]:
    """D10: element lengths and image geometry that do not fit the bytes."""
    objects = list(_lies(stage.scale.lies))
    with stage.memory() as peak:
        statuses = stage.store_all(objects)
        kept = stage.kept()
    acknowledged = [o for o, status in zip(objects, statuses, strict=True) if status == 0]
    lost = [each for each in acknowledged if kept is not None and each.token not in kept]
    clean: int | None = None
    if isinstance(stage.target, Radloop):
        clean = _indexed(stage.target, [each.sop_instance.decode() for each in objects])
    yield Finding(
        "D10",
        "element lengths and Rows x Columns x Frames that lie",
        "kept but not used: none accepted as clean",
        f"{len(objects)} objects; answers: {counted(statuses)}; lost {len(lost)}",
        (f"accepted as clean {clean}" if clean is not None else "it judges no contents")
        + f", {peak.grown}",
        NOT_APPLICABLE if clean is None and not lost else verdict(not clean and not lost),
    )


def _lies(count: int) -> Iterator[Sample]:
    """Draw objects each of which states a length or a size that its bytes contradict."""
    draw = random.Random(20260702)
    for number in range(count):
        yield (_length_lie, _geometry_lie, _truncated)[number % 3](draw)


def _length_lie(draw: random.Random) -> Sample:
    length = draw.choice(
        (0xFFFFFFFE, 0x7FFFFFFE, 0x80000000, 0xFFFFFF00, 2**24, 2000, 130, 126, 2, 0)
    )
    vr = draw.choice((b"OW", b"OB", b"UN"))
    return sample(tail=element(0x7FE0, 0x0010, vr, bytes(128), length))


def _geometry_lie(draw: random.Random) -> Sample:
    kind = draw.randrange(6)
    if kind == 0:
        return sample(rows=65535, columns=65535)
    if kind == 1:
        return sample(frames=draw.choice((b"2147483647", b"99999999999", b"2", b"1000")))
    if kind == 2:
        return sample(rows=draw.randint(9, 60000))
    if kind == 3:
        return sample(samples=draw.choice((3, 4, 65535)))
    if kind == 4:
        return sample(bits=draw.choice((32, 64, 0, 1, 65535)))
    return sample(rows=65535, columns=65535, frames=b"65535", bits=64, samples=65535)


def _truncated(draw: random.Random) -> Sample:
    whole = sample(pixels=bytes(range(128)))
    cut = draw.randint(1, 110)
    return Sample(whole.sop_instance, whole.data[:-cut], whole.token)


def _indexed(target: Radloop, uids: Sequence[str]) -> int:
    """Return how many of these instances the node's index holds as usable."""
    with open_for_reading(load_settings(target.node.config)) as session:
        if session is None:
            return 0
        found = 0
        for start in range(0, len(uids), 500):
            query = select(Instance.sop_instance_uid)
            part = uids[start : start + 500]
            found += len(session.exec(query.where(col(Instance.sop_instance_uid).in_(part))).all())
        return found


def corrupt_codestreams(stage: Stage) -> Iterator[Finding]:
    """D12: broken frames in every compressed syntax, twice under each name."""
    known = {str(each) for each in AllTransferSyntaxes if UID(each).is_encapsulated}
    syntaxes = sorted({*known, _FRAME_DEFLATED}.difference(_DEFLATING))
    processes = set(stage.target.processes())
    total, statuses, names = 0, [], dict[bytes, list[str]]()
    with stage.memory() as peak:
        for syntax in syntaxes:
            objects = list(_broken_frames(syntax))
            total += len(objects)
            if not _takes(stage, syntax):
                continue
            answers = stage.store_all(objects, syntax)
            statuses += answers
            for each, status in zip(objects, answers, strict=True):
                if status == 0:
                    names.setdefault(each.sop_instance, []).append(each.token)
        kept = stage.kept()
    # Whether both of a name are kept is the question of D3.
    lost = [
        name
        for name, tokens in names.items()
        if kept is not None and not any(token in kept for token in tokens)
    ]
    lives = stage.target.pid is None or alive(stage.target.pid)
    gone = len(processes - set(stage.target.processes()))
    yield Finding(
        "D12",
        f"corrupt codestreams in {len(syntaxes)} compressed syntaxes",
        "alive; each acknowledged object retained",
        f"{total} objects, {len(statuses)} in accepted syntaxes; answers: {counted(statuses)}"
        + ("" if lives else "; it died")
        + (f"; {gone} processes replaced" if gone else ""),
        f"lost {len(lost)} of {len(names)} names, {peak.grown}",
        verdict(lives and not lost),
    )


def _takes(stage: Stage, syntax: str) -> bool:
    try:
        with stage.associate([(MR, syntax)]) as association:
            return association.accepted.get(1) == 0
    except OSError:
        return False


def _broken_frames(syntax: str) -> Iterator[Sample]:
    draw = random.Random(syntax)
    for frame in (*_heads(syntax), draw.randbytes(300), b""):
        # The second of a name makes a reader compare decoded pixels.
        name = uid("codestream", syntax, frame.hex()).encode()
        study = uid("codestream study", syntax).encode()
        names: dict[str, Any] = {"sop_instance": name, "study": study, "series": study + b".1"}
        yield sample(**names, tail=encapsulated(frame))
        yield sample(**names, tail=encapsulated(frame + b"\0\1"))
    torn = encapsulated(b"\xff" * 64)
    yield sample(tail=torn[:-20])
    yield sample(tail=torn.replace(struct.pack("<L", 64), struct.pack("<L", UNDEFINED - 1)))


def _heads(syntax: str) -> Sequence[bytes]:
    """Return frames that begin properly, claim too much and go nowhere."""
    huge = b"\xff\xff\xff\xff"
    if syntax == "1.2.840.10008.1.2.5":  # RLE: 15 segments beyond the end
        return struct.pack("<16L", 15, *(0x7FFFFFF0 + n for n in range(15))), b"\xff" * 64
    if syntax == _FRAME_DEFLATED:
        squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        bomb = b"".join(squeeze.compress(bytes(MIB)) for _ in range(256)) + squeeze.flush()
        return (bomb,)
    jpeg = b"\xff\xd8\xff{}\x00\x11\x10\xff\xff\xff\xff\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01"
    j2k = b"\xff\x4f\xff\x51\x00\x29\x00\x00" + huge * 2 + bytes(8) + huge * 2 + bytes(8)
    return (
        *(jpeg.replace(b"{}", bytes((marker,))) for marker in (0xC0, 0xC1, 0xC3, 0xF7)),
        j2k + b"\x00\x01\x0f\x01\x01\xff\x93\xff\xd9",
        b"\xff\x0a" + huge * 8,  # JPEG XL
    )

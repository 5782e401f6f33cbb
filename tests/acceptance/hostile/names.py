"""D1, D2, D3 and D11: what a peer's names and bytes do to files."""

from __future__ import annotations

import random
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_node.studies import is_frozen
from plugin.context import open_for_reading
from plugin.settings import load_settings
from tests.acceptance.hostile.findings import Finding, verdict
from tests.acceptance.hostile.objects import Sample, sample
from tests.acceptance.hostile.observe import listing
from tests.acceptance.hostile.stage import Stage, counted
from tests.acceptance.hostile.targets import Radloop
from tests.builders import uid

_MARK = b"PWN"
_FRAGMENTS: Sequence[bytes] = (
    *(b"../", b"..\\", b"..;/", b"%2e%2e%2f", b"..%c0%af", b"./", b".", b"..", b"~", b"a/b", b"\\"),
    *(b"\x00", b"\n", b"\r\n", b"\t", b"\x1b[31m", b"\x07", b"\x7f", b"\x1b%/1", b" ", b"  "),
    *(b":", b"|", b";", b"*", b"?", b"'", b'"', b"&", b"$(touch PWN)", b"`id`", b"{0}", b"%s%n"),
    *(b"-rf", b"--help", b"CON", b"NUL", b"<script>", b"1.2.840", b"0" * 70, b"A" * 300),
    *("\u202egnp".encode(), "é".encode(), "é".encode("latin-1"), "日本".encode()),
    *("e\u0301".encode(), "𝒳".encode(), "\ufeff".encode(), b"\xff\xfe", b"\xc0\x80"),
)


def traversal(stage: Stage) -> Iterator[Finding]:
    """D1: names that climb, control, overflow or confuse, in every place that names something."""
    objects = hostile_objects(stage)
    before = listing(stage.target.scratch)
    statuses = stage.store_all(objects)
    titles = _hostile_titles(stage)
    kept = stage.kept()
    appeared = listing(stage.target.scratch) - before
    outside = [path for path in appeared if not path.is_relative_to(stage.target.root)]
    acknowledged = [o.token for o, status in zip(objects, statuses, strict=True) if status == 0]
    lost = [token for token in acknowledged if kept is not None and token not in kept]
    named = [path for path in appeared if _MARK.decode() in path.name]
    yield Finding(
        "D1",
        f"{len(objects)} hostile UIDs and patient names; {titles} hostile AE titles",
        "nothing outside the store; refused, or kept under a name of its own making",
        f"answers: {counted(statuses)}; peer text in {len(named)} file names",
        f"outside {len(outside)}, lost {len(lost)} of {len(acknowledged)} acknowledged",
        verdict(not outside and not lost, seen=kept is not None),
    )
    logged = sum(_MARK in path.read_bytes() for path in stage.target.logs if path.exists())
    yield Finding(
        "D1",
        "the same names in the log",
        "no value of a peer's in a log",
        "the log repeats them" if logged else "the log does not hold them",
        f"logs that hold them: {logged}",
        verdict(not logged, seen=bool(stage.target.logs)),
    )


def hostile_objects(stage: Stage) -> list[Sample]:
    """Return objects with hostile names: a fixed list first, then drawn from a fixed seed."""
    draw = random.Random(20260701)
    outside = str(stage.target.scratch / "outside" / "PWN").encode()
    (stage.target.scratch / "outside").mkdir(exist_ok=True)
    fixed = [
        *(b"../" * n + b"PWN" for n in range(1, 6)),
        *(b"../" * n + b"outside/PWN" for n in (1, 7, 8)),
        *(outside[:n] for n in (len(outside), 64)),
        *(b"..", b".", b"", b" ", b"\0\0", b"1.2.3/../../PWN", b"1.2.3.PWN" + b"9" * 120),
        b"A" * 1000 + b"PWN",
    ]
    objects = []
    for number in range(stage.scale.names):
        name = fixed[number // 4] if number // 4 < len(fixed) else _draw_name(draw, number)
        objects.append(_with_name(name, number % 4))
    return objects


def _draw_name(draw: random.Random, number: int) -> bytes:
    parts = draw.choices(_FRAGMENTS, k=draw.randint(1, 4))
    parts.insert(draw.randint(0, len(parts)), _MARK + str(number).encode())
    return b"".join(parts)


def _with_name(name: bytes, place: int) -> Sample:
    if place == 0:
        return sample(sop_instance=name)
    if place == 1:
        return sample(study=name, series=name)
    if place == 2:
        return sample(patient=name, name=name)
    return sample(sop_instance=name, study=name, series=name, patient=name, name=name)


def _hostile_titles(stage: Stage) -> int:
    """Store an object under each hostile AE title; return how many titles there were."""
    titles = [_MARK + fragment for fragment in _FRAGMENTS if len(fragment) <= 13]
    titles += [b"../../../PWN", b"/PWN/../PWN", bytes(16), b" " * 16, b"\\" * 16]
    for title in titles[: stage.scale.names]:
        for calling, called in ((title, b""), (b"HOSTILE", title)):
            good = sample()
            try:
                with stage.associate(calling=calling, called=called, timeout=3.0) as association:
                    if association.answer == 2:
                        association.store("1.2.840.10008.5.1.4.1.1.4", good.sop_instance, good.data)
            except OSError:
                continue
    return 2 * len(titles[: stage.scale.names])


def collisions(stage: Stage) -> Iterator[Finding]:
    """D2: different names that become one when odd characters are replaced or cut off."""
    objects = []
    for number in range(stage.scale.pairs):
        base = uid("collision", number).encode()[:40]
        first, second = _colliding(base, number)
        study = uid("collision study", number).encode()
        for name in (first, second):
            objects.append(sample(sop_instance=name, study=study, series=study + b".1"))
    statuses = stage.store_all(objects)
    kept = stage.kept()
    acknowledged = [o.token for o, status in zip(objects, statuses, strict=True) if status == 0]
    lost = [token for token in acknowledged if kept is not None and token not in kept]
    yield Finding(
        "D2",
        "pairs of names that are one after sanitising",
        "every acknowledged object is kept",
        f"{stage.scale.pairs} pairs; answers: {counted(statuses)}",
        f"overwritten {len(lost)} of {len(acknowledged)} acknowledged",
        verdict(not lost, seen=kept is not None),
    )


def _colliding(base: bytes, number: int) -> tuple[bytes, bytes]:
    kinds = (
        (base + b".aX", base + b".bY"),
        (base + b"/1", base + b"\\1"),
        (base + b"a", base + b"A"),
        (base + b".1", base + b".1 "),
        (base + b".1", base + b".01"),
        (base.ljust(64, b"1") + b"2", base.ljust(64, b"1") + b"3"),
        (base + b"\xc3\xa9", base + b"e\xcc\x81"),
        (base + b".1\0\0x", base + b".1"),
    )
    return kinds[number % len(kinds)]


@dataclass(frozen=True)
class _Case:
    """A second object under the name of the first.

    Attributes:
        what: how it differs.
        changes: attributes of the second.
        others: further images of the study, which are not sent again.
        freezes: whether a person has to decide; otherwise it is a version or a correction.
    """

    what: str
    changes: Mapping[str, Any]
    others: int = 0
    freezes: bool = True


_OTHER_PATIENT = {"patient": b"OTHER", "name": b"Other^Patient"}
_CASES = (
    _Case("other pixels", {"pixels": b"\x11" * 128}),
    _Case("another patient's image", {"pixels": b"\x11" * 128, **_OTHER_PATIENT}),
    _Case("another patient for one of two images", _OTHER_PATIENT, others=1),
    _Case("another patient for the whole study", _OTHER_PATIENT, freezes=False),
    _Case("another header only", {"name": b"Hostile^Test^Retyped"}, freezes=False),
)


def duplicates(stage: Stage) -> Iterator[Finding]:
    """D3: one SOP Instance UID for different objects."""
    for case in _CASES:
        yield _twins(stage, case)
    yield _repeats(stage)


def _twins(stage: Stage, case: _Case) -> Finding:
    objects, studies = [], []
    for number in range(stage.scale.pairs):
        study = uid("twin study", case.what, number).encode()
        series = uid("twin series", case.what, number).encode()
        name = uid("twin", case.what, number).encode()
        studies.append(study.decode())
        objects += [sample(study=study, series=series) for _ in range(case.others)]
        for changes in (dict[str, Any](), case.changes):
            objects.append(sample(sop_instance=name, study=study, series=series, **changes))
    statuses = stage.store_all(objects)
    kept = stage.kept()
    acknowledged = [o.token for o, status in zip(objects, statuses, strict=True) if status == 0]
    lost = [token for token in acknowledged if kept is not None and token not in kept]
    happened = f"{stage.scale.pairs} pairs; answers: {counted(statuses)}"
    good = not lost
    if isinstance(stage.target, Radloop):
        frozen = len(_frozen(stage.target, studies))
        happened += f"; studies frozen: {frozen}"
        good = good and frozen == (len(studies) if case.freezes else 0)
    return Finding(
        "D3",
        f"same SOP Instance UID, {case.what}",
        "both are kept" + ("; the study is frozen until a person decides" if case.freezes else ""),
        happened,
        f"lost {len(lost)} of {len(acknowledged)} acknowledged",
        verdict(good, seen=kept is not None),
    )


def _frozen(target: Radloop, studies: Sequence[str]) -> set[str]:
    """Return which of these studies the node's index holds as frozen."""
    with open_for_reading(load_settings(target.node.config)) as session:
        if session is None:
            return set()
        return {each for each in studies if is_frozen(session, each)}


def _repeats(stage: Stage) -> Finding:
    objects = []
    for _ in range(stage.scale.pairs):
        once = sample()
        objects += [once, once, once]
    statuses = stage.store_all(objects)
    kept = stage.kept()
    copies = max((kept.get(each.token, 0) for each in objects), default=0) if kept else 0
    lost = sum(kept is not None and each.token not in kept for each in objects[::3])
    return Finding(
        "D3",
        "the same object three times",
        "Success each time; kept once",
        f"{stage.scale.pairs} objects; answers: {counted(statuses)}",
        f"lost {lost}; files of one object: {copies}",
        verdict(set(statuses) == {0} and not lost and copies == 1, seen=kept is not None),
    )


def polyglots(stage: Stage) -> Iterator[Finding]:
    """D11: bytes that another program would run, at the beginning of what is sent."""
    heads = {
        "PE": b"MZ\x90\x00" + bytes(56) + b"\x80\x00\x00\x00",
        "ELF": b"\x7fELF\x02\x01\x01" + bytes(57),
        "shell": b"#!/bin/sh\ntouch PWN\n",
    }
    objects = []
    for head in heads.values():
        whole = sample()
        part_10 = head.ljust(128, b"\0") + b"DICM" + whole.data
        objects.append(whole)
        objects.append(Sample(whole.sop_instance, part_10, whole.token))
        objects.append(Sample(whole.sop_instance, head.ljust(64, b"\0") + whole.data, whole.token))
    statuses = stage.store_all(objects)
    stage.kept()
    seen = stage.target.store is not None
    files = _object_files(stage.target.store) if stage.target.store else []
    odd = [path for path in files if not _begins_well(path)]
    modes = {stat.S_IMODE(path.stat().st_mode) for path in files}
    open_to_others = [mode for mode in modes if mode & 0o137]
    yield Finding(
        "D11",
        "executables as preamble or as data set (PE, ELF, shell x 3)",
        "each file on disk begins with 128 zero bytes, mode 0640 or less",
        f"answers: {counted(statuses)}",
        f"odd beginnings {len(odd)} of {len(files)}, modes "
        + (" ".join(sorted(f"{mode:04o}" for mode in modes)) or "none"),
        verdict(not odd and not open_to_others, seen=seen and bool(files)),
    )


def _object_files(store: Path) -> list[Path]:
    return [
        path
        for path in store.rglob("*")
        if path.is_file() and b"DICM" in _first(path, 4096) and _first(path, 6) != b"SQLite"
    ]


def _begins_well(path: Path) -> bool:
    return _first(path, 132) == bytes(128) + b"DICM"


def _first(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size)

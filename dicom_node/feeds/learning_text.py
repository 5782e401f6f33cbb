"""What a sample tells about character set, time zone and patients."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from dicom_node.feeds.proposal import Finding
from dicom_node.feeds.sample import Encoding, Sampled, told
from dicom_node.feeds.vocabulary import OTHER_ID_TYPES, PATIENT_ID_TYPES, plain

_ZONE = re.compile(r"\d{8,14}(\.\d{1,4})?[+-]\d{4}")
_TIMES = ("MSH-7", "OBR-22", "OBR-7", "EVN-2", "TXA-6", "ORC-9")
_PATIENT_FIELDS = ("PID-3", "PID-2", "PID-4")
TEST_PATIENT = r"(?i)(?:^|[\^~ ])(?:ZZ+[A-Z]*|TEST|TESTPATIENT|XX+TEST)(?=$|[\^ ,])"
"""Names that sites give to patients who are none."""
_TEST_NAME = re.compile(TEST_PATIENT)


def look_at_charset(messages: Sequence[Sampled]) -> Finding:
    """Propose the character set where MSH-18 is empty, or where it is wrong."""
    found = Finding()
    silent = [each.encoding for each in messages if not each.encoding.declared]
    wide = [each for each in silent if not each.is_ascii]
    if wide:
        _propose_charset(found, len(silent), wide)
    declared = [each.encoding for each in messages if each.encoding.declared]
    wrong = [each for each in declared if not each.is_as_declared]
    if wrong:
        _judge_declared(found, len(declared), wrong, all(each.is_utf8 for each in declared))
    return found


def _propose_charset(found: Finding, silent: int, wide: Sequence[Encoding]) -> None:
    others = [each for each in wide if not each.is_utf8]
    utf8 = len(wide) - len(others)
    heard = f"MSH-18 is empty in {silent} messages, {len(wide)} of them are not ASCII"
    if not others:
        found.propose("charset", "utf-8", f"{heard}; all of these are UTF-8")
        return
    if utf8:
        found.ask(
            "charset",
            f"{heard}: {utf8} are UTF-8 and {len(others)} are not; one of the two will be set "
            "aside, unless the sender is made to fill MSH-18",
        )
    if utf8 > len(others):
        found.propose("charset", "utf-8", "most of the messages that are not ASCII are UTF-8")
        return
    c1 = any(each.has_c1 for each in others)
    found.propose(
        "charset",
        "cp1252" if c1 else "iso8859_1",
        f"{heard}, {len(others)} are not UTF-8; "
        + ("bytes 80 to 9F are printed in no ISO 8859 set" if c1 else "no byte is in 80 to 9F"),
    )
    found.ask("charset", "another set of single bytes reads as well: look at names with accents")


def _judge_declared(
    found: Finding, declared: int, wrong: Sequence[Encoding], all_utf8: bool
) -> None:
    heard = f"{len(wrong)} of {declared} messages are not in the set that MSH-18 names"
    if all_utf8:
        found.propose("charset", "utf-8", f"{heard}; all are UTF-8")
        found.propose("charset_overrides", True, f"{heard}; all are UTF-8")
    else:
        found.ask("charset_overrides", f"{heard}; they are set aside until the sender mends it")


def look_at_times(messages: Sequence[Sampled]) -> Finding:
    """Ask for the time zone where times have none."""
    found = Finding()
    times = [each.first(path) for path in _TIMES for each in messages]
    times = [each for each in times if len(each) > 8 and each[:8].isdigit()]
    zoned = sum(1 for each in times if _ZONE.fullmatch(each))
    if not times:
        return found
    if zoned == len(times):
        found.because("time_zone", f"all {zoned} times name their zone")
    else:
        found.ask(
            "time_zone",
            f"{len(times) - zoned} of {len(times)} times name no zone: without the sender's zone, "
            'such as "Europe/Berlin", dates do not help to confirm a link',
        )
    return found


def look_at_patients(messages: Sequence[Sampled]) -> Finding:
    """Propose where patient identifiers stand, which types count, and patterns of test patients."""
    found = Finding()
    with_pid = [each for each in messages if any(name[0] == "PID" for name in each.segments)]
    if not with_pid:
        return found
    counts = {path: sum(1 for m in with_pid if m.first(path)) for path in _PATIENT_FIELDS}
    used = _patient_field(found, counts, len(with_pid))
    if used:
        _judge_types(found, with_pid, used)
        _judge_issuers(found, with_pid, used)
    tests = sum(1 for each in with_pid if any(map(_TEST_NAME.search, each.fields("PID-5"))))
    if tests:
        reason = f"{tests} messages name a patient as sites name test patients (ZZ..., TEST)"
        found.propose("test_patients", (TEST_PATIENT,), reason)
        if tests * 5 > len(with_pid):
            found.ask("test_patients", "they are more than a fifth: are they test patients?")
    return found


def _patient_field(found: Finding, counts: dict[str, int], messages: int) -> str:
    if counts["PID-3"] == messages:
        found.because("patient_id_fields", f"PID-3 is filled in all {messages} messages")
        return "PID-3"
    others = [path for path in ("PID-2", "PID-4") if counts[path] > counts["PID-3"]]
    if counts["PID-3"] == 0 and len(others) == 1:
        reason = f"PID-3 is empty, {others[0]} is filled in {counts[others[0]]} of {messages}"
        found.propose("patient_id_fields", (others[0],), reason)
        found.ask("patient_id_fields", f"is {others[0]} the identifier that the images have?")
        return others[0]
    filled = ", ".join(f"{path} in {count}" for path, count in counts.items())
    found.ask("patient_id_fields", f"of {messages} messages these are filled: {filled}")
    return "PID-3" if counts["PID-3"] else ""


def _repetitions(messages: Sequence[Sampled], path: str) -> list[list[str]]:
    return [
        repetition.split(each.delimiters.component)
        for each in messages
        for text in each.fields(path)
        for repetition in text.split(each.delimiters.repetition)
        if repetition.split(each.delimiters.component)[0].strip()
    ]


def _judge_types(found: Finding, messages: Sequence[Sampled], path: str) -> None:
    types = Counter(
        (each[4].strip() if len(each) > 4 else "") for each in _repetitions(messages, path)
    )
    listed = [each for each in sorted(types) if plain(each) in PATIENT_ID_TYPES]
    others = [each for each in sorted(types) if each and each not in listed]
    kinds = told(types)
    if not listed:
        found.because("patient_id_types", f"types in {path}.5: {kinds}; all count")
        if others:
            found.ask("patient_id_types", f"no type in {path}.5 is known to name patients: {kinds}")
        return
    if "" in types:
        found.ask(
            "patient_id_types",
            f"{types['']} identifiers have no type; they do not count while types are listed",
        )
    found.propose("patient_id_types", tuple(listed), f"types in {path}.5: {kinds}")
    unknown = [each for each in others if plain(each) not in OTHER_ID_TYPES]
    if unknown:
        left_out = told(Counter({each: types[each] for each in unknown}))
        found.ask("patient_id_types", f"left out, because not known: {left_out}")


def _judge_issuers(found: Finding, messages: Sequence[Sampled], path: str) -> None:
    parts = _repetitions(messages, path)
    issuers = Counter((each[3].strip() if len(each) > 3 else "") for each in parts)
    silent = issuers.pop("", 0)
    stated = told(issuers)
    found.because("issuer_of_patient_id", f"issuers in {path}.4: {stated}; stated by the sender")
    if silent:
        found.ask(
            "issuer_of_patient_id",
            f"{silent} of {len(parts)} identifiers in {path} have no issuer (stated: {stated}): "
            "without one they link nothing",
        )

from __future__ import annotations

from collections.abc import Callable

from hypothesis import example, given, settings
from hypothesis import strategies as st

from dicom_node.feeds.profile import FeedProfile
from dicom_node.hl7.envelope import read_envelope
from dicom_node.hl7.parsed import ParsedMessage
from dicom_node.hl7.reader import read_message
from dicom_node.hl7.text import ContentFault
from dicom_node.hl7.usable import check_usable
from dicom_node.mllp.checking import _is_plainly_sound, fault_of

HEAD = (
    "MSH|^~\\&|RIS|HOSPITAL|RADLOOP|LAB|20260301120000||ORU^R01^ORU_R01|M1|P|2.5.1||||||{charset}",
    "PID|1||P1^^^HOSP^MR||DOE^JANE||19700101|F",
    "OBR|1|O1|F1|MRSPINE^MR^L|||20260228|||||||||||A1||||20260301||MR|F",
)
PROFILES = {
    "plain": FeedProfile(sender="RIS|HOSPITAL"),
    "words": FeedProfile(
        sender="RIS|HOSPITAL", observation_statuses={"Final": "F", "F": "C"}, charset="latin-1"
    ),
    "observations": FeedProfile(sender="RIS|HOSPITAL", study_uid_fields=("OBX-5",)),
    "utf-7": FeedProfile(sender="RIS|HOSPITAL", charset="utf-7", charset_overrides=True),
}
types = st.sampled_from(["TX", "FT", "ST", "tx", "", "ED", "CE", "HD", "TX^"])
identifiers = st.sampled_from(
    ["&GDT", "1^x", "113014^DICOM Study^DCM", "Study Instance UID", "SR Text", "&IMP", "a\\X41\\"]
)
texts = st.one_of(
    st.sampled_from(
        ["normal", "Größe 5 mm", "a\\F\\b", "\\X4G\\", "\\XFF\\", "x~y", "\x1b$B", "+AAA-", "\x85"]
    ),
    st.sampled_from(["^Application^PDF^Base64^!!", "1.2.3", "", "\n", "\ttab", "\x7f", "a\rb"]),
    st.text(st.characters(codec="latin-1", exclude_characters="\r"), max_size=12),
)
statuses = st.sampled_from(["F", "P", "", "Final", "Q", "f", "F^x", "F\n", "\\F\\", "W"])
lines = st.builds(
    lambda kind, name, sub, text, status, more: (
        f"OBX|1|{kind}|{name}|{sub}|{text}||||||{status}{more}"
    ),
    types,
    identifiers,
    st.sampled_from(["", "1", "\\XFF\\"]),
    texts,
    statuses,
    st.sampled_from(["", "|", "|x\\y|z", "|\x00"]),
)
others = st.sampled_from(
    ["NTE|1", "garbage", "ZDS|1.2.x", "OBR|2||F2||||||||||||||||||||||Q", "OBX"]
)


def _fault(
    content: bytes, profile: FeedProfile, look: Callable[[ParsedMessage], object] = repr
) -> tuple[object, ...] | None:
    try:
        look(read_message(content, lambda _: profile))
    except ContentFault as fault:
        return fault.segment, fault.field, fault.code, fault.sentence
    return None


@settings(max_examples=250, deadline=None)
@given(
    st.lists(st.one_of(lines, lines, others), max_size=8),
    st.sampled_from(sorted(PROFILES)),
    st.sampled_from(["", "8859/1", "UNICODE UTF-8", "ISO IR87", "nonsense"]),
    st.sampled_from(["latin-1", "utf-8"]),
    st.sampled_from(["\r", "\r\n", "\n"]),
)
@example(["OBX|1|TX|a||x\rOBX|2|ED|b||y||||||F"], "plain", "", "utf-8", "\r")
@example(["OBX|1|TX|a||x||||||Q"] * 2, "plain", "", "utf-8", "\r")
@example(["OBX|1|TX|a||x||||||F"] * 2, "words", "", "utf-8", "\r")
@example(["OBX|1|ST|113014||no uid||||||F"], "plain", "", "utf-8", "\r")
@example(["OBX|1|ST|study instance uid||no uid||||||F"], "plain", "", "utf-8", "\r")
def test_the_fast_way_finds_the_fault_that_reading_finds(
    body: list[str], name: str, charset: str, encoding: str, end: str
) -> None:
    text = end.join([*(each.format(charset=charset) for each in HEAD), *body, ""])
    content = text.encode(encoding, errors="replace")
    profile = PROFILES[name]
    found = fault_of(content, read_envelope(content), lambda _: profile)
    shown = None if found is None else (found.segment, found.field, found.code, found.sentence)
    # That lines of text hold no text at all is for filing to find.
    assert shown in (_fault(content, profile), _fault(content, profile, check_usable))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.integers(min_value=0, max_value=400))
def test_any_bytes_anywhere_are_judged_as_reading_judges_them(data: bytes, at: int) -> None:
    profile = PROFILES["plain"]
    sound = "\r".join([*HEAD, *["OBX|1|TX|a||plain text||||||F"] * 4, ""]).format(charset="")
    content = sound.encode()[:at] + data + sound.encode()[at:]
    found = fault_of(content, read_envelope(content), lambda _: profile)
    faults = (_fault(content, profile), _fault(content, profile, check_usable))
    assert (None if found is None else found.sentence) in [(each or [None])[-1] for each in faults]


def test_a_usual_report_goes_the_fast_way() -> None:
    for end in ("\r", "\r\n"):
        for line in ("plain text", "with an escape \\T\\ in it"):
            text = end.join([*HEAD, *["OBX|1|TX|a||plain|||N|||F"] * 4, f"OBX|5|TX|a||{line}", ""])
            content = text.format(charset="").encode()
            assert _is_plainly_sound(content, read_envelope(content), lambda _: PROFILES["plain"])

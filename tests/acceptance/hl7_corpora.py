"""Every shared HL7 file through the port of a node: what became of each message, and why.

    python -m tests.acceptance.hl7_corpora [FOLDER]

Each file goes in two ways: message by message, as an interface engine sends it, and as a whole in
one frame, as a careless sender would (XML, licences and empty files too). Every message must be
accounted for: stored and read, stored and ignored with a reason, quarantined with a reason, or
refused with a reason. The listener must be the same process afterwards and take a good message. A
profile for the radiology feed is learned from its own folder and accepted first; its good reports
are then compared with the oracle of :mod:`tests.acceptance.scout_feed`.

Prints a table by corpus and the files of which something was not taken, with the reason, and ends
with one line of JSON; exit status 1 where a message is not accounted for.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from dicom_node.hl7.batches import batch_messages, is_batch
from dicom_node.hl7.files import read_hl7_file
from dicom_node.hl7.text import ContentFault
from tests.acceptance.scout_feed import SHARED, expected_of
from tests.acceptance.served_node import LOOPBACK, ServedNode, served_node
from tests.nodes import radloop

CORPORA = SHARED / "data" / "hl7"
FEED = "scout_synthetic_rad"

_ANSWER_SECONDS = 30.0
_FILED_SECONDS = 60.0
_START, _END = b"\x0b", b"\x1c\r"
# A segment MSH at the beginning of a line, of a file, or behind a mark that spells framing out.
_HEADER = re.compile(rb"(?:\A|[\r\n>\x0b])MSH[^A-Za-z0-9\s<]")

GOOD = (
    b"MSH|^~\\&|GOOD|SITE|||20260301120000||ORU^R01|after-all|P|2.5.1\r"
    b"PID|1||1^^^SITE^MR||DOE^JANE\r"
    b"OBR|1||A1|CT^CT HEAD|||20260301110000||||||||||||||20260301115900||CT|F\r"
    b"OBX|1|TX|1||Nothing is wrong.||||||F\r"
)


@dataclass(frozen=True)
class Sent:
    """One frame that went out, and what became of it."""

    corpus: str
    file: str
    whole: bool  # the whole file in one frame
    content: bytes
    answer: str = ""  # MSA-1, or "closed" where the connection ended without one
    said: str = ""  # the sentence of ERR
    disposition: str = ""
    reason: str = ""

    @property
    def digest(self) -> str:
        """The digest under which the node stores it."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def outcome(self) -> str:
        """What became of it in one word; ``lost`` where nothing tells."""
        if self.disposition == "accepted":
            return "read"
        if self.disposition in ("ignored", "quarantined") and self.reason:
            return "refused" if self.answer == "AR" else self.disposition
        if self.answer in ("AE", "AR") and self.said:
            return "refused"
        return "lost"


OUTCOMES = ("read", "ignored", "quarantined", "refused", "lost")


class Client:
    """An MLLP client of its own; a connection that ends is opened anew."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None
        self._received = b""
        self.connections = 0

    def send(self, content: bytes, count: int = 1) -> list[tuple[str, str]]:
        """Send one frame; return so many answers: MSA-1 and the sentence of ERR, or ``closed``."""
        found: list[tuple[str, str]] = []
        try:
            connection = self._connection()
            connection.sendall(_START + content + _END)
            while len(found) < count and (answer := self._receive(connection)) is not None:
                found.append(read_answer(answer))
        except (ConnectionError, TimeoutError) as error:
            self.close()
            return found + [("closed", type(error).__name__)] * (count - len(found))
        if len(found) < count:
            self.close()
        return found + [("closed", "")] * (count - len(found))

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket, self._received = None, b""

    def _connection(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.create_connection((LOOPBACK, self._port), _ANSWER_SECONDS)
            self.connections += 1
        return self._socket

    def _receive(self, connection: socket.socket) -> bytes | None:
        while _END not in self._received:
            part = connection.recv(65536)
            if not part:
                return None
            self._received += part
        answer, _, self._received = self._received.partition(_END)
        return answer[1:]


def read_answer(answer: bytes) -> tuple[str, str]:
    """Return MSA-1, and what ERR or MSA-3 says."""
    segments = {line[:3]: line.split(b"|") for line in answer.split(b"\r") if line}
    msa = [*segments.get(b"MSA", []), b"", b"", b"", b""]
    err = [*segments.get(b"ERR", []), *[b""] * 9]
    return msa[1].decode("ascii"), (err[8] or err[3] or err[1] or msa[3]).decode("ascii")


def files_of(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield every file of the corpora with the name of its corpus."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            first = path.relative_to(folder).parts[0]
            yield first if (folder / first).is_dir() else "(beside)", path


def to_send(folder: Path) -> Iterator[Sent]:
    """Yield every message of every file, then every file as a whole."""
    files = list(files_of(folder))
    for corpus, path in files:
        name = path.relative_to(folder).as_posix()
        for content in read_hl7_file(path):
            yield Sent(corpus, name, False, content)
    for corpus, path in files:
        yield Sent(corpus, path.relative_to(folder).as_posix(), True, path.read_bytes())


def headers_in(folder: Path) -> int:
    """Count the MSH segments of all files, to see that no message was missed in the files."""
    return sum(len(_HEADER.findall(path.read_bytes())) for _, path in files_of(folder))


def accept_learned(node: ServedNode, scratch: Path) -> None:
    """Learn the profile of the radiology feed from its folder and accept it, as a person would."""
    profile = scratch / "learned.toml"
    radloop("feed", "learn", str(CORPORA / FEED), "--output", str(profile))
    radloop(
        *("feed", "accept", str(profile), "--config", str(node.config)),
        *("--reason", "learned from its sample", "--by", "test", "--undecided"),
    )


def deliver(port: int, frames: Iterable[Sent]) -> tuple[list[Sent], int]:
    """Send all frames; return them with their answers, and how many connections it took."""
    client = Client(port)
    with closing(client):
        done = []
        for each in frames:
            messages = messages_of(each.content)
            answers = client.send(each.content, len(messages))
            done += [
                replace(each, content=content, answer=answer, said=said)
                for content, (answer, said) in zip(messages, answers, strict=True)
            ]
        return done, client.connections


def messages_of(content: bytes) -> tuple[bytes, ...]:
    """Return the messages of a batch in a frame, each of which is answered; else the frame."""
    try:
        return (is_batch(content) and batch_messages(content)) or (content,)
    except ContentFault:
        return (content,)


def settle(node: ServedNode, sent: Sequence[Sent]) -> list[Sent]:
    """Wait until what was acknowledged is filed; return the frames with what became of them."""
    acknowledged = {each.digest for each in sent if each.answer in ("AA", "CA")}

    def filed() -> bool:
        return acknowledged <= {digest for (digest,) in node.rows("SELECT digest FROM message")}

    node.wait_until(filed, "the filing of every message", _FILED_SECONDS)
    rows = node.rows("SELECT digest, disposition, reason FROM message")
    found = {digest: (disposition, reason) for digest, disposition, reason in rows}
    return [
        replace(each, disposition=disposition, reason=reason)
        for each in sent
        for disposition, reason in (found.get(each.digest, ("", "")),)
    ]


def scout_right(node: ServedNode) -> tuple[int, int]:
    """Return how many good reports of the radiology feed the node holds right, and how many."""
    rows = node.rows(
        "SELECT m.message_control_id, r.text, r.result_status, r.accession_number,"
        " r.patient_identifiers FROM report r JOIN message m ON m.id = r.message_id"
    )
    held = {
        control_id: (
            tuple(line.rstrip() for line in text.splitlines()),
            status,
            accession,
            frozenset((each["value"], each["issuer"]) for each in json.loads(patients)),
        )
        for control_id, text, status, accession, patients in rows
    }
    good = [each for each in expected_of(CORPORA / FEED) if each.is_good]
    right = sum(
        held.get(each.control_id) == (each.text, each.status, each.accession, each.patient_ids)
        for each in good
    )
    return right, len(good)


def listeners(node: ServedNode) -> set[int]:
    """Return the process ids of the HL7 listener."""
    return {each.pid for each in node.tree() if "dicom_node.mllp.process" in each.command}


@dataclass(frozen=True)
class Outcome:
    """What the run came to."""

    sent: Sequence[Sent]
    headers: int  # MSH segments in the files
    connections: int
    same_listener: bool
    good_after: bool
    right: int
    good: int

    @property
    def lost(self) -> list[Sent]:
        """Frames that nothing accounts for."""
        return [each for each in self.sent if each.outcome == "lost"]

    @property
    def messages(self) -> list[Sent]:
        """What was sent message by message."""
        return [each for each in self.sent if not each.whole]

    def counts(self, *, whole: bool) -> dict[str, Counter[str]]:
        """Return the outcomes by corpus."""
        found: dict[str, Counter[str]] = {}
        for each in self.sent:
            if each.whole is whole:
                found.setdefault(each.corpus, Counter())[each.outcome] += 1
        return found

    def bad_files(self) -> dict[str, str]:
        """Name each file of which a message was not read, with the first reason."""
        found: dict[str, str] = {}
        for each in self.sent:
            if each.outcome in ("quarantined", "refused") and not each.whole:
                found.setdefault(each.file, each.reason or each.said)
        return found

    def empty_files(self) -> list[str]:
        """Name each file that holds no message at all."""
        with_messages = {each.file for each in self.messages}
        return sorted({each.file for each in self.sent} - with_messages)

    @property
    def passed(self) -> bool:
        """Whether everything that must hold does."""
        read_headers = sum(b"MSH" in each.content[:3] for each in self.messages)
        return (
            not self.lost
            and self.same_listener
            and self.good_after
            and read_headers >= self.headers
            and self.right >= 0.99 * self.good
        )


def run(folder: Path = CORPORA) -> Outcome:
    """Send the corpora to a node of our own."""
    with tempfile.TemporaryDirectory() as scratch, served_node(Path(scratch) / "node") as node:
        if (folder / FEED).is_dir():
            accept_learned(node, Path(scratch))
        before = listeners(node)
        sent, connections = deliver(node.ports.hl7, to_send(folder))
        settled = settle(node, sent)
        last, _ = deliver(node.ports.hl7, [Sent("", "", False, GOOD)])
        (good,) = settle(node, last)
        right, of = scout_right(node) if (folder / FEED).is_dir() else (0, 0)
        return Outcome(
            sent=settled,
            headers=headers_in(folder),
            connections=connections,
            same_listener=bool(before) and listeners(node) == before,
            good_after=good.outcome == "read",
            right=right,
            good=of,
        )


def show(outcome: Outcome) -> None:
    """Print the tables."""
    for whole, title in ((False, "message by message"), (True, "each file in one frame")):
        print(f"{title:30}{'sent':>7}" + "".join(f"{name:>13}" for name in OUTCOMES))
        for corpus, counts in outcome.counts(whole=whole).items():
            cells = "".join(f"{counts[name]:13}" for name in OUTCOMES)
            print(f"  {corpus:28}{counts.total():7}{cells}")
    print("\nfiles of which something was not taken:")
    for name, reason in outcome.bad_files().items():
        print(f"  {name}: {reason}")
    print("files without any message:")
    for name in outcome.empty_files():
        print(f"  {name}")
    ignored = Counter(each.reason for each in outcome.messages if each.outcome == "ignored")
    print("ignored:")
    for reason, count in ignored.most_common():
        print(f"  {count} {reason}")


def summary(outcome: Outcome) -> dict[str, object]:
    """Return the figures."""
    messages = Counter(each.outcome for each in outcome.messages)
    whole = Counter(each.outcome for each in outcome.sent if each.whole)
    return {
        "messages": len(outcome.messages),
        **{name: messages[name] for name in OUTCOMES},
        "whole_files": whole.total(),
        "whole_files_lost": whole["lost"],
        "headers_in_files": outcome.headers,
        "files_not_taken": len(outcome.bad_files()),
        "files_without_a_message": len(outcome.empty_files()),
        "connections": outcome.connections,
        "same_listener": outcome.same_listener,
        "good_message_afterwards": outcome.good_after,
        "scout_right": outcome.right,
        "scout_good": outcome.good,
        "passed": outcome.passed,
    }


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("folder", nargs="?", type=Path, default=CORPORA)
    outcome = run(parser.parse_args().folder)
    show(outcome)
    print(json.dumps(summary(outcome)))
    return 0 if outcome.passed else 1


if __name__ == "__main__":
    sys.exit(main())

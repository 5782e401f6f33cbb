"""Senders as modalities and interface engines are: what was not acknowledged is sent again.

A sender never stops: a lost connection, a refusal or a missing answer only means that it tries
again. It remembers what was acknowledged by digest alone, so that millions fit into memory.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from dicom_node.errors import Transient
from dicom_node.mllp.client import send_messages
from tests.builders import ROOT, encode, mr_image
from tests.hl7_builders import oru
from tests.raw_dicom import EXPLICIT, RawAssociation

MR = "1.2.840.10008.5.1.4.1.1.4"
CT = "1.2.840.10008.5.1.4.1.1.2"
SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700
QUARANTINED = frozenset((0xA900, 0xC000))

_STUDIES = 8
_AGAIN_SECONDS = 0.05
_PLACEHOLDER = f"{ROOT}8.{10**20}"


def digest_of(transfer_syntax: str, sop_class: str, sop_instance: str, data: bytes) -> str:
    """Return the name that the store must give to an object.

    Written out here a second time on purpose (deploy/decisions.md, "The name of a file is a
    digest"): a receiver whose idea of it changes would otherwise agree with itself.
    """
    sha = hashlib.sha256()
    for text in (transfer_syntax, sop_class, sop_instance):
        sha.update(len(text.encode()).to_bytes(4, "big") + text.encode())
    sha.update(data)
    return sha.hexdigest()


@dataclass(frozen=True)
class Item:
    """One object to send, with the SOP class that its command names."""

    sop_instance: str
    data: bytes
    command_class: str = MR

    @property
    def digest(self) -> str:
        """The name under which the store must keep it."""
        return digest_of(EXPLICIT, self.command_class, self.sop_instance, self.data)


class ObjectSource:
    """Makes valid MR objects by the thousand: a template, another UID, other last pixels.

    Args:
        seed: objects of different seeds never share a UID.
        odd_every: every so manyth object's command names another SOP class, so that it must be
            kept in quarantine; 0 for never.
        sizes: edge lengths of the images, drawn at random.
    """

    def __init__(self, seed: int, odd_every: int = 0, sizes: tuple[int, ...] = (16, 48, 96, 384)):
        self._random = random.Random(seed)
        self._numbers = itertools.count(1)
        self._seed = seed
        self._odd_every = odd_every
        self._templates = {
            (study, rows): encode(
                mr_image(f"K{study}", f"K{study}", rows=rows, SOPInstanceUID=_PLACEHOLDER)
            ).split(_PLACEHOLDER.encode())
            for study in range(_STUDIES)
            for rows in sizes
        }

    def make(self) -> Item:
        """Return an object that was never made before."""
        number = next(self._numbers)
        uid = f"{ROOT}8.{10**20 + self._seed * 10**12 + number}"
        before, after = self._random.choice(list(self._templates.values()))
        data = before + uid.encode() + after[:-8] + number.to_bytes(8, "little")
        odd = self._odd_every and number % self._odd_every == 0
        return Item(uid, data, CT if odd else MR)


@dataclass
class Ledger:
    """What peers were told; every sender writes to its own."""

    stored: dict[str, str] = field(default_factory=dict)  # digest -> SOP Instance UID
    quarantined: dict[str, str] = field(default_factory=dict)
    messages: dict[str, bytes] = field(default_factory=dict)  # control id -> digest of content
    again: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    @property
    def acknowledged(self) -> int:
        """How many objects and messages were acknowledged."""
        return len(self.stored) + len(self.quarantined) + len(self.messages)


class Sender(threading.Thread):
    """A thread that sends until it is told to end, and rests on request between two items."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.ledger = Ledger()
        self._go = threading.Event()
        self._go.set()
        self._resting = threading.Event()
        self._end = threading.Event()
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Send until :meth:`end`."""
        try:
            while not self._end.is_set():
                self._work()
                self._end.wait(_AGAIN_SECONDS)
        except BaseException as error:
            self.failure = error
        finally:
            self._resting.set()

    def rest(self) -> None:
        """Wait until nothing of this sender is under way; raise what ended it."""
        self._go.clear()
        while not self._resting.wait(0.1) and self.is_alive():
            pass
        if self.failure is not None:
            raise self.failure

    def resume(self) -> None:
        """Go on after :meth:`rest`."""
        self._resting.clear()
        self._go.set()

    def end(self) -> None:
        """Send nothing more and end."""
        self._end.set()
        self._go.set()
        self.join()

    def _may_go_on(self) -> bool:
        """Rest where asked to; False where it is time to end."""
        if not self._go.is_set():
            self._resting.set()
            self._go.wait()
        return not self._end.is_set()

    def _work(self) -> None:
        raise NotImplementedError


class Modality(Sender):
    """Sends objects over one association after another.

    Args:
        address: where to.
        source: makes the objects.
        per_association: how many objects an association carries before it is released.
        pause: seconds between two objects, for a rate below the highest.
    """

    def __init__(
        self,
        address: tuple[str, int],
        source: ObjectSource,
        per_association: int = 40,
        pause: float = 0.0,
    ) -> None:
        super().__init__("modality")
        self._address = address
        self._source = source
        self._per_association = per_association
        self._pause = pause
        self._pending: Item | None = None

    def _work(self) -> None:
        if not self._may_go_on():
            return
        contexts = [(MR, EXPLICIT)]
        try:
            with RawAssociation(self._address, contexts, calling="MODALITY") as association:
                if association.answer != 2:
                    self.ledger.refused[f"association {association.answer}"] += 1
                    return
                for _ in range(self._per_association):
                    if not self._may_go_on() or not self._send(association):
                        break
                association.release()
        except OSError:
            # The node is being killed: what is pending goes again on the next association.
            self.ledger.again += 1

    def _send(self, association: RawAssociation) -> bool:
        item = self._pending = self._pending or self._source.make()
        started = time.perf_counter()
        status = association.store(item.command_class, item.sop_instance, item.data)
        self.ledger.seconds.append(time.perf_counter() - started)
        if status == SUCCESS:
            self.ledger.stored[item.digest] = item.sop_instance
        elif status in QUARANTINED:
            self.ledger.quarantined[item.digest] = item.sop_instance
        else:
            self.ledger.refused[f"{status:04X}"] += 1
            return False
        self._pending = None
        return not self._end.wait(self._pause) if self._pause else True


class Engine(Sender):
    """Sends HL7 reports, one connection for many.

    Args:
        port: the HL7 port on loopback.
        pause: seconds between two messages.
    """

    def __init__(self, port: int, seed: int, pause: float = 0.0) -> None:
        super().__init__("engine")
        self._port = port
        self._seed = seed
        self._pause = pause
        self._numbers = itertools.count(1)
        self._pending = ("", b"")

    def _work(self) -> None:
        if not self._may_go_on():
            return
        try:
            for result in send_messages("127.0.0.1", self._port, self._messages(), timeout=20):
                if result.code != "AA":
                    self.ledger.refused[result.code or "no answer"] += 1
                    return
                control_id, content = self._pending
                self.ledger.messages[control_id] = hashlib.sha256(content).digest()
                self._pending = ("", b"")
        except (OSError, Transient):
            self.ledger.again += 1

    def _messages(self) -> Iterator[bytes]:
        while self._may_go_on():
            if not self._pending[0]:
                number = next(self._numbers)
                name = f"K{self._seed}-{number}"
                message = oru(control_id=name, filler=name, accession=name, placer=name)
                self._pending = (name, message)
            yield self._pending[1]
            if self._pause and self._end.wait(self._pause):
                return


def merge(senders: list[Sender]) -> Ledger:
    """Return everything that the (resting) senders were told."""
    whole = Ledger()
    for each in senders:
        whole.stored |= each.ledger.stored
        whole.quarantined |= each.ledger.quarantined
        whole.messages |= each.ledger.messages
        whole.again += each.ledger.again
        whole.refused += each.ledger.refused
        whole.seconds += each.ledger.seconds
    return whole

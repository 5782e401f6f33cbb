"""Where everything lies under the data folder, and who may write there."""

from __future__ import annotations

import functools
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plugin.errors import NodeIsRunning, Permanent
from plugin.locks import take


@functools.cache
def _mark_of(salt: bytes) -> bytes:
    """Return what tells one secret from another, slow to be guessed from."""
    return hashlib.scrypt(salt, salt=b"radloop patient keys", n=2**14, r=8, p=1).hex().encode()


class DataFolder:
    """The paths under one data folder; every folder is 0700, because all of it is patient data."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def database(self) -> Path:
        """File of the main database."""
        return self.root / "radloop.sqlite"

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of the main database."""
        return f"sqlite:///{self.database}"

    @property
    def workflow_database_url(self) -> str:
        """SQLAlchemy URL of the durable workflows' database."""
        return f"sqlite:///{self.root / 'workflows.sqlite'}"

    @property
    def control_socket(self) -> Path:
        """Local socket of the running node."""
        return self.root / "control.sock"

    @property
    def language_models(self) -> Path:
        """The model store of language models."""
        return self.root / "language_models"

    @property
    def weights(self) -> Path:
        """Trained weights, one safetensors file per digest."""
        return self.root / "weights"

    @property
    def prepared(self) -> Path:
        """Inputs of networks, prepared from images: a cache that may be emptied at any time."""
        return self.root / "prepared_inputs"

    @property
    def trainings(self) -> Path:
        """Checkpoints of trainings that are not over."""
        return self.root / "trainings"

    @property
    def reports(self) -> Path:
        """Structured reports that were built, one file per SOP Instance UID."""
        return self.root / "structured_reports"

    @property
    def child_log(self) -> Path:
        """What child processes write to their standard error."""
        return self.root / "children.log"

    @property
    def cohorts(self) -> Path:
        """Cohort manifests."""
        return self.root / "cohorts"

    @property
    def messages(self) -> Path:
        """The journal of HL7 messages that were acknowledged and wait to be filed."""
        return self.root / "hl7"

    @property
    def feeds(self) -> Path:
        """Accepted feed profiles, one file per sender."""
        return self.root / "feeds"

    def create(self) -> None:
        """Make every folder that is missing."""
        for folder in (
            self.root,
            self.language_models,
            self.weights,
            self.prepared,
            self.trainings,
            self.reports,
            self.cohorts,
            self.messages,
            self.feeds,
        ):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)

    def patient_key_salt(self) -> bytes:
        """Return the secret that turns patient identities into keys; made once, mode 0600.

        RADLOOP_PATIENT_KEY_SALT in the environment wins, for sites that keep secrets elsewhere.
        With another secret nobody who opted out is known any more and all folds move, so a folder
        that was used with one takes no other.

        Raises:
            Permanent: the secret is another one than before, or it is lost.
        """
        given = os.environ.get("RADLOOP_PATIENT_KEY_SALT", "").encode()
        path, mark = self.root / "patient_key_salt", self.root / "patient_key_salt.mark"
        if not given and not path.exists() and mark.exists():
            raise Permanent(
                "the secret of patient keys is lost: put patient_key_salt back from a backup of "
                "the data folder, or set RADLOOP_PATIENT_KEY_SALT as it was"
            )
        salt = given or self._kept(path)
        made = _mark_of(salt)
        if self._kept(mark, made) != made:
            raise Permanent(
                "this is not the secret of patient keys with which the data folder was used: set "
                "RADLOOP_PATIENT_KEY_SALT as it was, or leave it out where the folder keeps its own"
            )
        return salt

    @staticmethod
    def _kept(path: Path, content: bytes = b"") -> bytes:
        """Return the content of a private file; one that is not there is written first."""
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return path.read_bytes()
        with os.fdopen(descriptor, "wb") as file:
            file.write(content or secrets.token_hex(32).encode())
            file.flush()
            os.fsync(file.fileno())
        return path.read_bytes()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the data folder: one process writes at a time.

        Raises:
            NodeIsRunning: another process holds it.
        """
        descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            take(descriptor, NodeIsRunning(f"another radloop process is writing to {self.root}"))
            yield
        finally:
            os.close(descriptor)

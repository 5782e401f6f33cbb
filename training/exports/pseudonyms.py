"""Names that patients, studies and images have in the exports of one cohort, and nowhere else.

They follow from the node's secret and the cohort's digest, so exports of one cohort fit together,
those of two cohorts cannot be joined, and the node alone can tell whose they are.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

_LENGTH = 20  # hex digits, 80 bits


def export_key(salt: bytes, cohort_digest: str) -> bytes:
    """Return the secret of a cohort's exports: HMAC-SHA256 (RFC 2104) under the node's salt."""
    text = f"exports of cohort {cohort_digest}"
    return hmac.new(salt, text.encode("ascii"), hashlib.sha256).digest()


@dataclass(frozen=True)
class Pseudonyms:
    """The names under one secret; each kind of thing has names of its own."""

    key: bytes

    def patient(self, patient_key: str) -> str:
        """Return the name of a patient, given the key that the cohort has for them."""
        return f"P{self._name('patient', patient_key)}"

    def study(self, study_instance_uid: str) -> str:
        """Return the name of a study."""
        return f"S{self._name('study', study_instance_uid)}"

    def image(self, digest: str) -> str:
        """Return the name of an image, given the digest of its file in the archive."""
        return f"I{self._name('image', digest)}"

    def digest(self, text_digest: str) -> str:
        """Return a keyed digest (64 hex digits) for one that a guessed text would confirm."""
        return self._hmac("digest", text_digest)

    def _name(self, kind: str, of: str) -> str:
        return self._hmac(kind, of)[:_LENGTH]

    def _hmac(self, kind: str, of: str) -> str:
        return hmac.new(self.key, f"{kind}\0{of}".encode(), hashlib.sha256).hexdigest()

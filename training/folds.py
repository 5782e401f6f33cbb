"""Folds by patient: fixed by a salted key, stable when patients are added, one side per patient.

A fold depends on nothing but the patient's key and the shares, so a patient keeps it however the
archive grows. The key belongs to the identity that survived all merges: two identities that turn
out to be one patient end on one side.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Container, Iterable, Mapping
from typing import Literal

from training.errors import Permanent

Fold = Literal["train", "validation", "test"]
Identity = tuple[str, str]
"""Issuer of Patient ID and Patient ID, together."""


def patient_key(issuer: str, patient_id: str, salt: bytes) -> str:
    """Return the salted key of a patient identity: HMAC-SHA256 (RFC 2104) as 64 hex digits.

    Issuer and identifier are joined so that no two pairs give the same text. An issuer that the
    node only assumed counts like a declared one here: taking two patients for one costs a little
    balance, taking one for two would leak.

    Raises:
        Permanent: the salt or the identifier is empty.
    """
    if not salt:
        raise Permanent("patient keys need a salt that is not empty")
    if not patient_id:
        raise Permanent("a patient without Patient ID has no key")
    text = json.dumps([issuer, patient_id], ensure_ascii=True)
    return hmac.new(salt, text.encode("ascii"), hashlib.sha256).hexdigest()


def assign_fold(
    patient_key: str,
    validation_share: float,
    test_share: float,
    locked_test_patients: Container[str] | None = None,
) -> Fold:
    """Return the fold of a patient; the same key and shares always give the same fold.

    Args:
        patient_key: from :func:`patient_key`.
        validation_share: expected share of patients in validation, in [0, 1).
        test_share: expected share of patients in test, in [0, 1).
        locked_test_patients: keys of the patients of a locked, human-labelled test set. Where
            given, they are the test fold and nobody else is: the share of the others that the
            key would send to test trains instead. None: the key alone decides.

    Raises:
        Permanent: the shares leave nothing to train on.
    """
    if validation_share < 0 or test_share < 0 or validation_share + test_share >= 1:
        raise Permanent("validation and test share must not be negative and leave some to train")
    if locked_test_patients is not None and patient_key in locked_test_patients:
        return "test"
    digest = hashlib.sha256(patient_key.encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < test_share:
        return "test" if locked_test_patients is None else "train"
    return "validation" if place < test_share + validation_share else "train"


def survivors(events: Iterable[tuple[Identity, Identity]]) -> dict[Identity, Identity]:
    """Return for each identity in any join the one that stands for its patient.

    All identities that these joins connect are one patient, even where they contradict each
    other: nobody may end on two sides. The patient's identity is the end of the chain of newest
    merges, or the smallest identity of the circle where the chain has no end.
    """
    newest: dict[Identity, Identity] = {}
    groups: dict[Identity, set[Identity]] = {}
    for prior, surviving in events:
        newest[prior] = surviving
        joined = groups.get(prior, {prior}) | groups.get(surviving, {surviving})
        groups.update(dict.fromkeys(joined, joined))
    return {identity: _end(min(group), newest) for identity, group in groups.items()}


def _end(identity: Identity, went_to: Mapping[Identity, Identity]) -> Identity:
    path: list[Identity] = []
    while identity not in path:
        path.append(identity)
        if identity not in went_to:
            return identity
        identity = went_to[identity]
    return min(path[path.index(identity) :])


def check_folds(folds: Iterable[tuple[str, str]]) -> None:
    """Check pairs of patient key and fold for a patient who stands in two folds.

    Raises:
        Permanent: some patient is in more than one fold; the text says how many are.
    """
    found: dict[str, set[str]] = {}
    for key, fold in folds:
        found.setdefault(key, set()).add(fold)
    split = sum(len(each) > 1 for each in found.values())
    if split:
        raise Permanent(f"{split} patients are in more than one fold; nothing was frozen")

"""The figures of the test fold, bound to the model as it was registered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

FIGURES = "figures_sha256"
"""Key of the details of a model's first event: the digest of its figures of the test fold."""

_KEPT = ("auroc", "n", "positives")


def figures_digest(metrics: Mapping[str, Any]) -> str:
    """Return the SHA-256 (hex) of what the gate reads of a training run's ``metrics``.

    It covers observations, their AUROC with interval and reason, cases and positives of the test
    fold; nothing that an erasure takes out of the record.
    """
    observations = (metrics.get("test") or {}).get("observations", {})
    kept = {
        name: {key: each[key] for key in _KEPT if key in each}
        for name, each in observations.items()
    }
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()

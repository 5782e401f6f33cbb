"""The digest of all that a labeler asks a language model."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from labeling.guarding.commands import words_digest
from labeling.labeler import LabelerSetup
from labeling.processor import best_format
from labeling.settings import LanguageModelSettings

_PLAIN = "bfloat16, plain attention"
"""How bfloat16 is read now; another way of rounding gets another name."""


def asked_digest(setup: LabelerSetup, labeler: str, form: Any) -> str:
    """Return the SHA-256 of all that is asked and of every setting that changes an answer.

    Args:
        setup: of the labeler.
        labeler: its name; its texts in the language packs count, and so do the packs' headings
            and cues, which decide what is read, and so do the words by which text is left out.
        form: values of JSON: what else the labeler asks or decides by.
    """
    model = setup.settings.language_model
    asked = {
        "schema": setup.schema.digest,
        "packs": {
            code: [pack.digest, dict(pack.prompts.get(labeler, {}))]
            for code, pack in setup.languages.packs.items()
        },
        "guard": words_digest(),
        "label_history": setup.settings.label_history,
        "backend": model.backend,
        "dtype": _format(model),
        "form": form,
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _format(model: LanguageModelSettings) -> str:
    """Return in what numbers a model is read: margins, and so thresholds, are of that format.

    ``auto`` is what it stands for on this machine.
    """
    if model.backend == "server":
        return ""
    if model.backend != "transformers":
        return model.dtype
    found = best_format(model.dtype, on_gpu=True)
    return _PLAIN if found == "bfloat16" else found

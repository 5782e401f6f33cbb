"""Language models: how they enter the model store, and what of the configured one works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from labeling.llm.adapter_choice import adapters
from labeling.llm.model_store import ModelStore
from plugin.folders import DataFolder
from plugin.settings import Settings


def add_model(store: ModelStore, source: str, name: str) -> dict[str, str]:
    """Copy a model into the store; return its name and SHA-256.

    Args:
        store: of a node or of one's own.
        source: ``embedded``, or the path of a .gguf file, a Hugging Face folder or a wheel.
        name: its name in the store; the embedded model has its own.
    """
    if source == "embedded":
        model = store.add_embedded()
    else:
        model = store.add(Path(source), name or Path(source).stem)
    return {"name": model.name, "sha256": model.sha256}


def list_models(store: ModelStore) -> dict[str, Any]:
    """Return name and SHA-256 of every model in the store, each checked; no node is needed.

    And the adapters that are at hand, for which model and schema each was made.

    Raises:
        UnusableModel: a model is not what its digest says.
    """
    models = [store.get(name) for name in store.names()]
    known = [each.description for each in adapters(store)]
    return {
        "models": [{"name": each.name, "sha256": each.sha256} for each in models],
        "adapters": [
            {"name": each.name, "base": each.base, "schema": each.schema, "digest": each.digest}
            for each in known
        ],
    }


def check_model(settings: Settings) -> dict[str, Any]:
    """Open the configured model or server and return what of it works; no report is read.

    Raises:
        UnusableModel, UnusableLanguageModel: it cannot be opened.
        ModelUnavailable: a server is away.
    """
    from labeling.llm.check import check
    from labeling.llm.opening import open_model

    store = ModelStore(DataFolder(settings.data_folder).language_models)
    return check(open_model(settings.labeling.language_model, store))

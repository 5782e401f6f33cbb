"""Language models enter the model store: a file, a folder, a wheel, or the embedded one."""

from __future__ import annotations

from pathlib import Path

from labeling.llm.model_store import ModelStore
from plugin.folders import DataFolder
from plugin.settings import Settings


def add_model(settings: Settings, source: str, name: str) -> dict[str, str]:
    """Copy a model into the store; return its name and SHA-256.

    Args:
        settings: whose data folder holds the store.
        source: ``embedded``, or the path of a .gguf file, a Hugging Face folder or a wheel.
        name: its name in the store; the embedded model has its own.
    """
    folder = DataFolder(settings.data_folder)
    folder.create()
    store = ModelStore(folder.language_models)
    if source == "embedded":
        model = store.add_embedded()
    else:
        model = store.add(Path(source), name or Path(source).stem)
    return {"name": model.name, "sha256": model.sha256}

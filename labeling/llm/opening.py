"""Opens the language model that the settings name, through the library that reads it.

Importing this file loads neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Callable

from labeling.llm.adapter_file import Adapter
from labeling.llm.interface import LanguageModel
from labeling.llm.model_store import EMBEDDED_NAME, ModelStore, StoredModel
from labeling.settings import LanguageModelSettings


def stored_model(settings: LanguageModelSettings, store: ModelStore) -> StoredModel:
    """Return the model's files and digest; the embedded one enters the store by itself.

    Raises:
        UnusableModel: it is missing, or not what its digest says.
    """
    if settings.name == EMBEDDED_NAME and EMBEDDED_NAME not in store.names():
        store.add_embedded()
    return store.get(settings.name, sha256=settings.sha256)


def open_model(
    settings: LanguageModelSettings, store: ModelStore, adapter: Adapter | None = None
) -> LanguageModel:
    """Return a loaded model; takes seconds to minutes.

    Args:
        settings: name it.
        store: holds it.
        adapter: is put on it; only where ``takes_adapters`` says so.

    Raises:
        UnusableModel: the model is not in the store, or not what its digest says.
        UnusableLanguageModel: it cannot be loaded or asked.
        ModelUnavailable: a server is away.
    """
    if adapter is not None:
        return _in_process(settings, store, adapter)
    return _BACKENDS[settings.backend](settings, store)


def takes_adapters(settings: LanguageModelSettings) -> bool:
    """Tell whether an adapter can be put on the model: where transformers reads it."""
    return settings.backend == "transformers"


def _in_process(
    settings: LanguageModelSettings, store: ModelStore, adapter: Adapter | None = None
) -> LanguageModel:
    from labeling.llm.transformers_model import TransformersModel

    stored = stored_model(settings, store)
    model = TransformersModel.load(
        stored.path,
        name=stored.name,
        digest=stored.sha256,
        threads=settings.threads,
        dtype=settings.dtype,
        side_by_side=settings.batch_reports,
    )
    return model if adapter is None else model.adapted(adapter)


def _llama_cpp(settings: LanguageModelSettings, store: ModelStore) -> LanguageModel:
    from labeling.llm.llama_cpp_model import LlamaCppModel

    stored = stored_model(settings, store)
    return LlamaCppModel.load(
        stored.path, name=stored.name, digest=stored.sha256, threads=settings.threads
    )


def _server(settings: LanguageModelSettings, store: ModelStore) -> LanguageModel:
    from labeling.llm.server import ServerModel

    return ServerModel.open(settings)


_BACKENDS: dict[str, Callable[[LanguageModelSettings, ModelStore], LanguageModel]] = {
    "transformers": _in_process,
    "llama_cpp": _llama_cpp,
    "server": _server,
}

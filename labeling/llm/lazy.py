"""A language model that is opened when it is first asked; its digest is known before."""

from __future__ import annotations

from labeling.llm.adapter_file import Adapter
from labeling.llm.interface import LanguageModel
from labeling.llm.model_store import ModelStore
from labeling.llm.opening import open_model, stored_model
from labeling.settings import LanguageModelSettings


class LazyLanguageModel:
    """The model that the settings name.

    A stored model's digest is read from the store, which checks all of its bytes; a server is
    asked what it serves. The embedded default enters the store by itself.
    """

    def __init__(
        self,
        settings: LanguageModelSettings,
        store: ModelStore,
        model: LanguageModel | None = None,
        adapter: Adapter | None = None,
    ) -> None:
        """Take the settings, or ``model`` in place of what they name; ``adapter`` is put on it."""
        self._settings, self._store, self._adapter = settings, store, adapter
        self._model = model
        self._digest = "" if model is None else model.digest
        if model is None and adapter is not None:
            self._digest = adapter.description.digest
        elif model is None and settings.backend != "server":
            self._digest = stored_model(settings, store).sha256

    @property
    def digest(self) -> str:
        """SHA-256 of the weights, or of what a server says of them."""
        return self._digest or self.open().digest

    def open(self) -> LanguageModel:
        """Return the model; the first call loads it, which takes seconds.

        Raises:
            UnusableLanguageModel: it cannot be loaded.
            ModelUnavailable: a server is away.
        """
        if self._model is None:
            self._model = open_model(self._settings, self._store, self._adapter)
        return self._model

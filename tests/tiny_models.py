"""Small random language models on disk, as a site would have a model folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PretrainedConfig

TEMPLATE = (
    "{% for m in messages %}<|im_start|> {{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|> assistant\n{% endif %}"
)
WORDS = (
    "system user assistant You are a radiologist . , : ; ? # - ( ) Normal normal spine Answer the "
    "this question report stenosis herniation disc canal severe mild is no there at level L4-L5 "
    "Does state it name say what says of and Summarise Fill form"
)
SIZES = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 2048,
}  # fmt: skip


def write_tokenizer(
    folder: Path, *, template: str = TEMPLATE, answers: Sequence[str] = ("yes", "no")
) -> int:
    """Write a tokenizer of bytes with a token for each of some words; return its size."""
    folder.mkdir(parents=True)
    specials = ["<unk>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    words = [*answers, *WORDS.split()]
    tokenizer.train_from_iterator([*words, *(f" {word}" for word in words)], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}
    settings |= {"eos_token": "<|im_end|>", "model_max_length": 2048}
    if template:
        settings["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return int(tokenizer.get_vocab_size())


def write_model(
    folder: Path,
    kind: type[PretrainedConfig] = LlamaConfig,
    *,
    template: str = TEMPLATE,
    answers: Sequence[str] = ("yes", "no"),
    **options: Any,
) -> Path:
    """Write a random model of three layers and its tokenizer."""
    size = write_tokenizer(folder, template=template, answers=answers)
    torch.manual_seed(1)
    given = {**SIZES, "vocab_size": size, "eos_token_id": 2, "pad_token_id": 0, "bos_token_id": 1}
    model = AutoModelForCausalLM.from_config(kind(**{**given, **options}))
    with torch.no_grad():  # the usual first weights are so small that every answer is alike
        for parameter in model.parameters():
            parameter.mul_(4 if parameter.ndim > 1 else 1)
    model.save_pretrained(folder)
    return folder

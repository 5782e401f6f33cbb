"""A random two-layer Llama with a word tokenizer, as a site would have a model folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_tiny_model(
    folder: Path,
    words: str,
    *,
    template: str = CHAT_TEMPLATE,
    answers: Sequence[str] = ("yes", "no"),
    longest: int = 4096,
) -> Path:
    """Write the model's folder and return it; ``words`` are its vocabulary, the rest is <unk>."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir()
    specials = ["<unk>", "<|im_start|>", "<|im_end|>"]
    known = [*specials, *answers, *words.split(), "\n", ":", "."]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(known))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(specials)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}
    settings |= {"eos_token": "<|im_end|>", "model_max_length": longest}
    if template:
        settings["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=longest,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder

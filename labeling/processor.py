"""What the processor computes in hardware, and the number format that is best there."""

from __future__ import annotations

from typing import Literal

Format = Literal["float32", "bfloat16"]
Dtype = Format | Literal["auto"]
"""As settings name it."""


def multiplies_bfloat16() -> bool:
    """Tell whether the processor has instructions that multiply bfloat16.

    AMX and AVX-512 BF16 do so two to ten times faster than float32; without either, the numbers
    would be widened before each product.
    """
    import torch

    known = torch.cpu.get_capabilities()
    return bool(known.get("amx_bf16") or known.get("avx512_bf16"))


def best_format(wanted: Dtype, *, on_gpu: bool = False) -> Format:
    """Return the number format of a setting; torch is loaded for ``auto`` alone.

    Args:
        wanted: the setting.
        on_gpu: whether a GPU, where there is one, computes.
    """
    if wanted != "auto":
        return wanted
    import torch

    fast = (on_gpu and torch.cuda.is_available()) or multiplies_bfloat16()
    return "bfloat16" if fast else "float32"

"""What the processor computes in hardware."""

from __future__ import annotations


def multiplies_bfloat16() -> bool:
    """Tell whether the processor has instructions that multiply bfloat16.

    AMX and AVX-512 BF16 do so two to ten times faster than float32; without either, the numbers
    would be widened before each product.
    """
    import torch

    known = torch.cpu.get_capabilities()
    return bool(known.get("amx_bf16") or known.get("avx512_bf16"))

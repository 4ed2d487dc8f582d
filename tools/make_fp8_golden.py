#!/usr/bin/env python3
"""Writes tests/golden/fp8, for the tests that compare bits: e4m3.bin, the E4M3 code that `ml_dtypes` gives to each of the
65536 bfloat16 numbers (by their bits), and v3.safetensors with a matrix in F8_E4M3, its block scales as DeepSeek-V3
publishes them, and what PyTorch decodes it to.

Usage: make_fp8_golden.py tests/golden/fp8     (needs `pip install torch safetensors ml-dtypes`)
"""
import pathlib
import sys

import ml_dtypes
import numpy as np
import torch
from safetensors.torch import save_file

BLOCK = 128


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    numbers = np.arange(65536, dtype=np.uint16).view(ml_dtypes.bfloat16).astype(np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        codes = numbers.astype(ml_dtypes.float8_e4m3fn).view(np.uint8)
    (folder / "e4m3.bin").write_bytes(codes.tobytes())

    torch.manual_seed(3)
    rows, cols = 140, 150
    weight = torch.randn(rows, cols).to(torch.float8_e4m3fn)
    scale = torch.rand(-(-rows // BLOCK), -(-cols // BLOCK)) / 300
    # DeepSeek-V3's own conversion (inference/fp8_cast_bf16.py): float32 product of value and its block's scale.
    spread = scale.repeat_interleave(BLOCK, 0)[:rows].repeat_interleave(BLOCK, 1)[:, :cols]
    decoded = weight.float() * spread
    save_file({"w": weight, "w_scale_inv": scale, "float32": decoded, "bfloat16": decoded.bfloat16()},
              folder / "v3.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main()

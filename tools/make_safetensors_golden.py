#!/usr/bin/env python3
"""Writes tests/golden/safetensors/golden.safetensors with Python's `safetensors`, for the test that compares bytes.

Usage: make_safetensors_golden.py tests/golden/safetensors     (needs `pip install torch safetensors`)
"""
import pathlib
import sys

import torch
from safetensors.torch import save_file

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float64, torch.int64, torch.int32,
          torch.int16, torch.int8, torch.uint8, torch.bool]


def main():
    tensors = {f"{letter}.{str(dtype)[6:]}": torch.arange(6).reshape(2, 3).to(dtype) for dtype in DTYPES for letter in "ba"}
    tensors["scalar"] = torch.tensor(2.5)
    tensors["empty"] = torch.zeros(0, 4)
    tensors['quoted "näme"\n'] = torch.ones(1)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "golden.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main()

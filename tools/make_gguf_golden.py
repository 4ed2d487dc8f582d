#!/usr/bin/env python3
"""Writes tests/golden/gguf with the PyPI package `gguf`, for the tests that compare bits: blocks.gguf, whose tensors are
blocks of random bytes with finite scales, one of each type, and blocks.f32, what the package decodes them to.

Usage: make_gguf_golden.py tests/golden/gguf     (the Python of tools/oracle has what it needs)
"""
import pathlib
import sys

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import dequantize

# Type, bytes of a block, offsets of its half-precision numbers.
TYPES = [("F32", 4, []), ("F16", 2, []), ("BF16", 2, []), ("Q4_0", 18, [0]), ("Q4_1", 20, [0, 2]), ("Q5_0", 22, [0]),
         ("Q5_1", 24, [0, 2]), ("Q8_0", 34, [0]), ("Q4_K", 144, [0, 2]), ("Q5_K", 176, [0, 2]), ("Q6_K", 210, [208])]
ROWS, BLOCKS = 3, 2


def main():
    random = np.random.default_rng(4)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(folder / "blocks.gguf", "llama")
    writer.add_name("blöcke")
    writer.add_uint8("t.uint8", 200)
    writer.add_int8("t.int8", -100)
    writer.add_uint16("t.uint16", 60000)
    writer.add_int16("t.int16", -30000)
    writer.add_uint32("t.uint32", 4000000000)
    writer.add_int32("t.int32", -2000000000)
    writer.add_uint64("t.uint64", 2**62)
    writer.add_int64("t.int64", -2**62)
    writer.add_float32("t.float32", 1e-6)
    writer.add_float64("t.float64", 1e-300)
    writer.add_bool("t.bool", True)
    writer.add_array("t.texts", ["a", "", "ü漢🙂"])
    writer.add_array("t.integers", [3, -1, 2])
    writer.add_array("t.numbers", [0.5, -2.0])
    expected = []
    for name, size, halves in TYPES:
        kind = GGMLQuantizationType[name]
        if halves:
            blocks = random.integers(0, 256, (ROWS, BLOCKS, size), dtype=np.uint8)
            for offset in halves:
                scales = random.normal(0, 0.02, (ROWS, BLOCKS)).astype(np.float16)
                scales[0, 0] = np.float16(6e-8)  # subnormal
                blocks[..., offset:offset + 2] = scales[..., None].view(np.uint8)
            data = blocks.reshape(ROWS, BLOCKS * size)
            values = dequantize(data, kind)
        else:
            values = random.normal(0, 1, (ROWS, 5)).astype(np.float32)
            values[0, :3] = [0, -0.0, 6e-8]
            if name == "F16":
                data = values.astype(np.float16)
                values = data.astype(np.float32)
            elif name == "BF16":
                values = (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
                data = (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8).reshape(ROWS, -1)
            else:
                data = values
        writer.add_tensor(name, data, raw_dtype=kind)
        expected.append(values.astype(np.float32).tobytes())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (folder / "blocks.f32").write_bytes(b"".join(expected))


if __name__ == "__main__":
    main()

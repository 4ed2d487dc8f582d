// ggml's tensor types that ponder reads: block sizes, and block -> float32. The layouts are those
// of ggml's ggml-common.h; the arithmetic is that of the PyPI package gguf (quants.py), bit for
// bit: each product and sum rounded to float32. Knows no files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace ponder::policy {

// The numbers are the format's.
enum class GgmlType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kBF16 = 30,
};

// A type's block: so many values in so many bytes.
struct GgmlBlock {
  const char* name;
  int64_t values;
  int64_t bytes;
};

// Nothing for a number that is no type of ponder's.
std::optional<GgmlBlock> find_ggml_block(uint32_t type);
GgmlBlock ggml_block(GgmlType type);

// "IQ2_XXS" for types that ggml has and ponder does not read; "" for numbers it does not have
// either.
std::string unsupported_ggml_name(uint32_t type);

// Decodes whole blocks: out.size() values from `blocks`, whose size must fit. Half-precision values
// that are not finite come out as such.
void dequantize_ggml(GgmlType type, std::span<const std::byte> blocks, std::span<float> out);

// Exact; subnormals, infinities and NaN included.
float half_to_float(uint16_t bits);

}  // namespace ponder::policy

#include "policy/gguf_blocks.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "core/error.h"

namespace ponder::policy {
namespace {

constexpr int kBlock = 32;        // values in a block of the plain types
constexpr int kSuperBlock = 256;  // and of the K types

struct NamedBlock {
  GgmlType type;
  GgmlBlock block;
};

constexpr NamedBlock kBlocks[] = {
    {GgmlType::kF32, {"F32", 1, 4}},
    {GgmlType::kF16, {"F16", 1, 2}},
    {GgmlType::kBF16, {"BF16", 1, 2}},
    {GgmlType::kQ4_0, {"Q4_0", kBlock, 18}},
    {GgmlType::kQ4_1, {"Q4_1", kBlock, 20}},
    {GgmlType::kQ5_0, {"Q5_0", kBlock, 22}},
    {GgmlType::kQ5_1, {"Q5_1", kBlock, 24}},
    {GgmlType::kQ8_0, {"Q8_0", kBlock, 34}},
    {GgmlType::kQ4_K, {"Q4_K", kSuperBlock, 144}},
    {GgmlType::kQ5_K, {"Q5_K", kSuperBlock, 176}},
    {GgmlType::kQ6_K, {"Q6_K", kSuperBlock, 210}},
};

struct OtherName {
  uint32_t type;
  const char* name;
};

constexpr OtherName kOthers[] = {
    {9, "Q8_1"},     {10, "Q2_K"},  {11, "Q3_K"},   {15, "Q8_K"},  {16, "IQ2_XXS"}, {17, "IQ2_XS"},
    {18, "IQ3_XXS"}, {19, "IQ1_S"}, {20, "IQ4_NL"}, {21, "IQ3_S"}, {22, "IQ2_S"},   {23, "IQ4_XS"},
    {24, "I8"},      {25, "I16"},   {26, "I32"},    {27, "I64"},   {28, "F64"},     {29, "IQ1_M"},
    {34, "TQ1_0"},   {35, "TQ2_0"}, {39, "MXFP4"},
};

// The bytes of one block, read in order.
class Bytes {
 public:
  explicit Bytes(const std::byte* data) : data_(reinterpret_cast<const uint8_t*>(data)) {}
  float half() {
    uint16_t bits = 0;
    std::memcpy(&bits, data_, sizeof bits);
    data_ += sizeof bits;
    return half_to_float(bits);
  }
  const uint8_t* take(int count) {
    const uint8_t* at = data_;
    data_ += count;
    return at;
  }

 private:
  const uint8_t* data_;
};

// Value i of 32 nibbles: the low halves of 16 bytes, then the high ones.
int nibble(const uint8_t* packed, int i) {
  return i < kBlock / 2 ? packed[i] & 15 : packed[i - kBlock / 2] >> 4;
}

void decode_q4_0(Bytes block, float* out) {
  const float scale = block.half();
  const uint8_t* packed = block.take(16);
  for (int i = 0; i < 16; ++i) {
    out[i] = scale * static_cast<float>((packed[i] & 15) - 8);
    out[i + 16] = scale * static_cast<float>((packed[i] >> 4) - 8);
  }
}

void decode_q4_1(Bytes block, float* out) {
  const float scale = block.half(), low = block.half();
  const uint8_t* packed = block.take(16);
  for (int i = 0; i < 16; ++i) {
    out[i] = scale * static_cast<float>(packed[i] & 15) + low;
    out[i + 16] = scale * static_cast<float>(packed[i] >> 4) + low;
  }
}

int fifth_bit(const uint8_t* bits, int i) {
  return (bits[i / 8] >> (i % 8) & 1) << 4;
}

void decode_q5_0(Bytes block, float* out) {
  const float scale = block.half();
  const uint8_t* high = block.take(4);
  const uint8_t* packed = block.take(16);
  for (int i = 0; i < kBlock; ++i)
    out[i] = scale * static_cast<float>((nibble(packed, i) | fifth_bit(high, i)) - 16);
}

void decode_q5_1(Bytes block, float* out) {
  const float scale = block.half(), low = block.half();
  const uint8_t* high = block.take(4);
  const uint8_t* packed = block.take(16);
  for (int i = 0; i < kBlock; ++i)
    out[i] = scale * static_cast<float>(nibble(packed, i) | fifth_bit(high, i)) + low;
}

void decode_q8_0(Bytes block, float* out) {
  const float scale = block.half();
  const uint8_t* values = block.take(kBlock);
  for (int i = 0; i < kBlock; ++i)
    out[i] = static_cast<float>(static_cast<int8_t>(values[i])) * scale;
}

// The eight 6-bit scales and minima of a Q4_K or Q5_K block, packed in 12 bytes: the first four of
// each whole, of the others the low halves in bytes 8..11 and the high bits on top of the first.
struct ScaleMin {
  int scale, min;
};
ScaleMin scale_min(const uint8_t* packed, int i) {
  if (i < 4) return {packed[i] & 63, packed[i + 4] & 63};
  return {(packed[i + 4] & 15) | (packed[i - 4] >> 2 & 0x30),
          (packed[i + 4] >> 4) | (packed[i] >> 2 & 0x30)};
}

void decode_q4_k(Bytes block, float* out) {
  const float scale = block.half(), min = block.half();
  const uint8_t* packed = block.take(12);
  const uint8_t* values = block.take(128);
  for (int part = 0; part < 8; ++part) {
    const ScaleMin s = scale_min(packed, part);
    const float d = scale * static_cast<float>(s.scale), m = min * static_cast<float>(s.min);
    for (int i = 0; i < 32; ++i) {
      const int q = values[part / 2 * 32 + i] >> part % 2 * 4 & 15;
      out[part * 32 + i] = d * static_cast<float>(q) - m;
    }
  }
}

void decode_q5_k(Bytes block, float* out) {
  const float scale = block.half(), min = block.half();
  const uint8_t* packed = block.take(12);
  const uint8_t* high = block.take(32);
  const uint8_t* values = block.take(128);
  for (int part = 0; part < 8; ++part) {
    const ScaleMin s = scale_min(packed, part);
    const float d = scale * static_cast<float>(s.scale), m = min * static_cast<float>(s.min);
    for (int i = 0; i < 32; ++i) {
      const int q = (values[part / 2 * 32 + i] >> part % 2 * 4 & 15) | (high[i] >> part & 1) << 4;
      out[part * 32 + i] = d * static_cast<float>(q) - m;
    }
  }
}

void decode_q6_k(Bytes block, float* out) {
  const uint8_t* low = block.take(128);
  const uint8_t* high = block.take(64);
  const uint8_t* scales = block.take(16);
  const float scale = block.half();
  for (int i = 0; i < kSuperBlock; ++i) {
    const int half = i / 128, part = i % 128 / 32, place = i % 32;
    const int low4 = low[half * 64 + part % 2 * 32 + place] >> part / 2 * 4 & 15;
    const int high2 = high[half * 32 + place] >> part * 2 & 3;
    const float d = scale * static_cast<float>(static_cast<int8_t>(scales[i / 16]));
    out[i] = d * static_cast<float>((low4 | high2 << 4) - 32);
  }
}

void decode_block(GgmlType type, const std::byte* data, float* out) {
  const Bytes block(data);
  switch (type) {
    case GgmlType::kQ4_0:
      return decode_q4_0(block, out);
    case GgmlType::kQ4_1:
      return decode_q4_1(block, out);
    case GgmlType::kQ5_0:
      return decode_q5_0(block, out);
    case GgmlType::kQ5_1:
      return decode_q5_1(block, out);
    case GgmlType::kQ8_0:
      return decode_q8_0(block, out);
    case GgmlType::kQ4_K:
      return decode_q4_k(block, out);
    case GgmlType::kQ5_K:
      return decode_q5_k(block, out);
    case GgmlType::kQ6_K:
      return decode_q6_k(block, out);
    case GgmlType::kF32:
      std::memcpy(out, data, sizeof *out);
      return;
    case GgmlType::kF16:
      *out = Bytes(data).half();
      return;
    case GgmlType::kBF16: {
      uint16_t bits = 0;
      std::memcpy(&bits, data, sizeof bits);
      *out = std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
      return;
    }
  }
}

}  // namespace

std::optional<GgmlBlock> find_ggml_block(uint32_t type) {
  for (const NamedBlock& entry : kBlocks) {
    if (static_cast<uint32_t>(entry.type) == type) return entry.block;
  }
  return std::nullopt;
}

GgmlBlock ggml_block(GgmlType type) {
  const auto block = find_ggml_block(static_cast<uint32_t>(type));
  PONDER_CHECK(block.has_value(), "[ggml_block] no type {}", static_cast<uint32_t>(type));
  return *block;
}

std::string unsupported_ggml_name(uint32_t type) {
  for (const OtherName& entry : kOthers) {
    if (entry.type == type) return entry.name;
  }
  return "";
}

void dequantize_ggml(GgmlType type, std::span<const std::byte> blocks, std::span<float> out) {
  const GgmlBlock block = ggml_block(type);
  const auto count = static_cast<int64_t>(out.size()) / block.values;
  PONDER_CHECK(count * block.values == static_cast<int64_t>(out.size()) &&
                   count * block.bytes == static_cast<int64_t>(blocks.size()),
               "[dequantize_ggml] {} values of {} do not fit {} bytes", out.size(), block.name,
               blocks.size());
  if (out.empty()) return;
  if (type == GgmlType::kF32) {
    std::memcpy(out.data(), blocks.data(), blocks.size());
    return;
  }
  for (int64_t i = 0; i < count; ++i)
    decode_block(type, blocks.data() + i * block.bytes, out.data() + i * block.values);
}

float half_to_float(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  const uint32_t exponent = bits >> 10 & 31, mantissa = bits & 0x3FF;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000 | mantissa << 13);
  if (exponent == 0) {
    const float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
    return sign != 0 ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
}

}  // namespace ponder::policy

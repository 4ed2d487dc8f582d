#include "policy/fp8.h"

#include <cmath>
#include <cstring>
#include <filesystem>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/file.h"
#include "policy/fp8_tile.h"
#include "policy/linear.h"
#include "policy/safetensors.h"

namespace ponder::policy {
namespace {

const std::filesystem::path kGolden = std::filesystem::path(PONDER_SOURCE_DIR) / "tests/golden/fp8";

float from_bits(uint32_t bits) {
  float value = 0;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() &&
         std::memcmp(a.contiguous().const_data_ptr(), b.contiguous().const_data_ptr(),
                     a.nbytes()) == 0;
}

// e4m3.bin holds ml_dtypes' code of every bfloat16 number. That package makes NaN of what is beyond
// 448; ours saturates, as the hardware's conversion for training does.
TEST(E4m3, EveryBfloat16NumberGetsTheReferencesCode) {
  const std::string codes = core::read_file(kGolden / "e4m3.bin", "golden");
  ASSERT_EQ(codes.size(), 65536u);
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = from_bits(bits << 16);
    const auto want = static_cast<uint8_t>(codes[bits]);
    const uint8_t sign = bits & 0x8000 ? 0x80 : 0;
    const bool beyond = std::abs(value) > kE4m3Max && (want & 0x7F) == 0x7F;
    if (std::isnan(value)) {
      ASSERT_EQ(to_e4m3(value) & 0x7F, 0x7F);
    } else {
      ASSERT_EQ(to_e4m3(value), beyond ? (sign | 0x7E) : want) << value;
    }
  }
}

// PyTorch's own conversion is a second reference, for float32 numbers between those above.
TEST(E4m3, RandomFloatsAndTiesGetPyTorchsCode) {
  at::manual_seed(1);
  const at::Tensor spread = at::cat({at::randn({100000}), at::randn({100000}) * 0.01,
                                     at::randn({100000}) * 1e-3, at::rand({100000}) * 448});
  // Halfway between neighbours, and the floats next to that.
  std::vector<float> ties;
  for (int code = 0; code < 0x7E; ++code) {
    const float middle =
        (from_e4m3(static_cast<uint8_t>(code)) + from_e4m3(static_cast<uint8_t>(code + 1))) / 2;
    for (const float v : {middle, std::nextafter(middle, 0.0f), std::nextafter(middle, 1e9f)}) {
      ties.push_back(v);
      ties.push_back(-v);
    }
  }
  const at::Tensor all = at::cat({spread, at::tensor(ties)});
  const at::Tensor want = all.to(at::kFloat8_e4m3fn);
  const auto* codes = static_cast<const uint8_t*>(want.const_data_ptr());
  const float* values = all.const_data_ptr<float>();
  for (int64_t i = 0; i < all.numel(); ++i) {
    if (std::abs(values[i]) > kE4m3Max) continue;
    ASSERT_EQ(to_e4m3(values[i]), codes[i]) << values[i];
  }
}

TEST(E4m3, EveryCodeComesBack) {
  const at::Tensor codes = at::arange(256, at::kByte);
  const at::Tensor want = codes.view(at::kFloat8_e4m3fn).to(at::kFloat);
  for (int code = 0; code < 256; ++code) {
    const float value = from_e4m3(static_cast<uint8_t>(code));
    const float expected = want[code].item<float>();
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(value)) << code;
    } else {
      EXPECT_EQ(value, expected) << code;
      EXPECT_EQ(to_e4m3(value), code);
    }
  }
}

TEST(TileScale, MapsTheGreatestTo448) {
  EXPECT_EQ(tile_scale(448, false), 1.0f);
  EXPECT_EQ(tile_scale(3, false), 3.0f / 448.0f);
  EXPECT_EQ(tile_scale(0, false), 1.0f);
  EXPECT_EQ(tile_scale(448, true), 1.0f);
  EXPECT_EQ(tile_scale(449, true), 2.0f);
  EXPECT_EQ(tile_scale(447, true), 1.0f);
  EXPECT_EQ(tile_scale(448.0f / 1024, true), 1.0f / 1024);
  EXPECT_EQ(to_e4m3(1e-45f / tile_scale(1e-45f, false)), to_e4m3(1e-45f));
}

// The definition in whole-tensor operations: amax of each tile, division, PyTorch's cast.
Fp8Matrix by_definition(const at::Tensor& x, Fp8Tile tile) {
  const int64_t rows = x.size(0), cols = x.size(1);
  const at::Tensor padded =
      at::constant_pad_nd(x.to(at::kFloat), {0, (tile.cols - cols % tile.cols) % tile.cols, 0,
                                             (tile.rows - rows % tile.rows) % tile.rows});
  const at::Tensor tiled =
      padded.view({padded.size(0) / tile.rows, tile.rows, padded.size(1) / tile.cols, tile.cols});
  at::Tensor scales = tiled.abs().amax({1, 3}) / 448.0;
  scales = at::where(scales == 0, 1.0, scales).to(at::kFloat);
  const at::Tensor values = (tiled / scales.unsqueeze(1).unsqueeze(3))
                                .view(padded.sizes())
                                .narrow(0, 0, rows)
                                .narrow(1, 0, cols)
                                .contiguous()
                                .to(at::kFloat8_e4m3fn);
  return {values, scales, tile};
}

at::Tensor decode_by_definition(const Fp8Matrix& m) {
  const at::Tensor spread = m.scales.repeat_interleave(m.tile.rows, 0)
                                .narrow(0, 0, m.values.size(0))
                                .repeat_interleave(m.tile.cols, 1)
                                .narrow(1, 0, m.values.size(1));
  return m.values.to(at::kFloat) * spread;
}

TEST(Fp8, QuantizesAndDecodesToTheBitsOfTheDefinition) {
  at::manual_seed(2);
  at::Tensor x = at::randn({260, 390}) * at::logspace(-4, 4, 390);
  x[5].narrow(0, 128, 128).zero_();  // a tile of zeros
  for (const Fp8Tile tile : {kFp8Rows, kFp8Columns, kFp8Blocks}) {
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      SCOPED_TRACE(fmt::format("{} x {}", tile.rows, tile.cols));
      const Fp8Matrix got = quantize_fp8(x.to(dtype), tile),
                      want = by_definition(x.to(dtype), tile);
      EXPECT_TRUE(same_bits(got.values, want.values));
      EXPECT_TRUE(same_bits(got.scales, want.scales));
      EXPECT_TRUE(same_bits(dequantize_fp8(got), decode_by_definition(want)));
      EXPECT_TRUE(same_bits(dequantize_fp8(got, at::kBFloat16),
                            decode_by_definition(want).to(at::kBFloat16)));
    }
  }
}

// What the CUDA kernel (policy/cuda/fp8_quantize.cu) does, its 128 threads one after another: each
// takes a column of a wide tile, or every 128th row of a tile of one column.
TEST(Fp8, SharesOfThreadsMakeTheWholeMatrix) {
  at::manual_seed(8);
  const at::Tensor x = at::randn({150, 270});
  const float* data = x.const_data_ptr<float>();
  for (const Fp8Tile tile : {kFp8Rows, kFp8Columns, kFp8Blocks}) {
    const Fp8Matrix want = quantize_fp8(x, tile);
    std::vector<uint8_t> codes(x.numel());
    for (int64_t t = 0; t < want.scales.numel(); ++t) {
      const TileView view = tile_at(t, x.size(0), x.size(1), tile.rows, tile.cols);
      const auto share = [&](int64_t thread) {
        return tile.cols == 1 ? TileShare{.row_first = thread, .row_step = 128}
                              : TileShare{.col_first = thread, .col_step = 128};
      };
      float greatest = 0;
      for (int64_t thread = 0; thread < 128; ++thread)
        greatest = std::max(greatest, greatest_in_tile(data, view, share(thread)));
      const float scale = tile_scale(greatest, false);
      EXPECT_EQ(scale, want.scales.view(-1)[t].item<float>());
      for (int64_t thread = 0; thread < 128; ++thread)
        encode_tile(data, codes.data(), scale, view, share(thread));
    }
    EXPECT_EQ(std::memcmp(codes.data(), want.values.const_data_ptr(), codes.size()), 0);
  }
}

TEST(Fp8, PowersOfTwoLoseNothingWhenTilesChange) {
  at::manual_seed(3);
  const at::Tensor drawn = at::randn({128, 128});
  const at::Tensor x = at::where(drawn.abs() < 0.01, 0.5, drawn);  // no subnormal codes
  const Fp8Matrix rows = quantize_fp8(x, kFp8Rows, Fp8Scale::kPowerOfTwo);
  EXPECT_TRUE(at::equal(at::log2(rows.scales), at::log2(rows.scales).round()));
  // The new scale is a power of two times the old one, so the codes only change their exponents.
  const at::Tensor once = dequantize_fp8(rows);
  const at::Tensor twice = dequantize_fp8(quantize_fp8(once, kFp8Columns, Fp8Scale::kPowerOfTwo));
  EXPECT_TRUE(at::equal(once, twice));
}

TEST(Fp8, NanStaysVisible) {
  at::Tensor x = at::ones({1, 256});
  x[0][3] = NAN;
  const at::Tensor back = dequantize_fp8(quantize_fp8(x, kFp8Rows));
  EXPECT_TRUE(std::isnan(back[0][3].item<float>()));
  EXPECT_EQ(back[0][200].item<float>(), 1.0f);
  EXPECT_TRUE(std::isnan(
      dequantize_fp8(quantize_fp8(at::full({1, 4}, INFINITY), kFp8Rows)).sum().item<float>()));
}

// v3.safetensors was made by PyTorch with DeepSeek-V3's published formula.
TEST(Fp8, PublishedWeightsDecodeToTheBitsOfTheReference) {
  const SafetensorsFile file(kGolden / "v3.safetensors");
  const Fp8Matrix m{file.tensor("w"), file.tensor("w_scale_inv"), kFp8Blocks};
  EXPECT_TRUE(same_bits(dequantize_fp8(m), file.tensor("float32")));
  EXPECT_TRUE(same_bits(dequantize_fp8(m, at::kBFloat16), file.tensor("bfloat16")));
}

double relative_error(const at::Tensor& got, const at::Tensor& want) {
  return ((got - want).norm() / want.norm()).item<double>();
}

// V3's product block by block: E4M3 values summed over 128, then scaled and added in float32
// (arXiv:2412.19437 §3.3.2, interval N_C = 128).
at::Tensor product_by_blocks(const Fp8Matrix& x, const Fp8Matrix& weight) {
  const int64_t k = x.values.size(1);
  at::Tensor sum = at::zeros({x.values.size(0), weight.values.size(0)});
  for (int64_t begin = 0; begin < k; begin += 128) {
    const int64_t length = std::min<int64_t>(128, k - begin);
    const at::Tensor part = at::mm(x.values.narrow(1, begin, length).to(at::kFloat),
                                   weight.values.narrow(1, begin, length).to(at::kFloat).t());
    const at::Tensor columns = weight.scales.select(1, begin / 128)
                                   .repeat_interleave(128)
                                   .narrow(0, 0, weight.values.size(0));
    sum += part * x.scales.select(1, begin / 128).unsqueeze(1) * columns;
  }
  return sum;
}

TEST(Fp8Linear, IsV3sProductOfItsThreeQuantisations) {
  at::manual_seed(4);
  const at::Tensor x = at::randn({200, 300}).requires_grad_();
  const at::Tensor weight = (at::randn({260, 300}) * 0.05).requires_grad_();
  const at::Tensor grad = at::randn({200, 260}) * 1e-3;
  const at::Tensor y = fp8_linear(x, weight);
  y.backward(grad);
  const at::NoGradGuard no_grad;
  EXPECT_LT(relative_error(y, product_by_blocks(by_definition(x, kFp8Rows),
                                                by_definition(weight, kFp8Blocks))),
            1e-6);
  const Fp8Matrix weight_t = by_definition(weight, kFp8Blocks);
  EXPECT_LT(
      relative_error(x.grad(), product_by_blocks(by_definition(grad, kFp8Rows),
                                                 {weight_t.values.t().contiguous(),
                                                  weight_t.scales.t().contiguous(), kFp8Blocks})),
      1e-6);
  const at::Tensor kept = decode_by_definition(by_definition(x, kFp8Rows));
  const at::Tensor wgrad = at::mm(decode_by_definition(by_definition(grad, kFp8Columns)).t(),
                                  decode_by_definition(by_definition(kept, kFp8Columns)));
  EXPECT_LT(relative_error(weight.grad(), wgrad), 1e-6);
}

// Round-to-nearest with 3 mantissa bits is off by 2^-4 at most and by about 2.6 % on average (root
// of the mean square); two such factors give 3.7 % of each product, and as much of a random sum.
TEST(Fp8Linear, ErrorOfAProductIsThatOfThreeMantissaBits) {
  at::manual_seed(5);
  const at::Tensor x = at::randn({256, 1024}), weight = at::randn({512, 1024});
  const double error = relative_error(fp8_linear(x, weight), at::linear(x, weight));
  EXPECT_GT(error, 0.03);
  EXPECT_LT(error, 0.045);
}

TEST(Linear, PrecisionsKeepShapeDtypeAndBias) {
  at::manual_seed(6);
  Linear linear{.name = "l", .weight = at::randn({40, 24}), .bias = at::randn({40})};
  const at::Tensor x = at::randn({2, 5, 24});
  const at::Tensor exact = linear(x);
  for (const auto& [precision, bound] :
       {std::pair(LinearPrecision::kBFloat16, 0.01), std::pair(LinearPrecision::kFp8, 0.06)}) {
    linear.precision = precision;
    const at::Tensor y = linear(x);
    EXPECT_EQ(y.sizes(), exact.sizes());
    EXPECT_EQ(y.scalar_type(), at::kFloat);
    EXPECT_GT(relative_error(y, exact), 0);
    EXPECT_LT(relative_error(y, exact), bound);
  }
}

}  // namespace
}  // namespace ponder::policy

// Every table of kernels that this processor runs, against sums in double precision and against
// itself with rows and columns split otherwise.
#include "policy/kernels/kernels.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "core/random.h"

namespace ponder::policy::kernels {
namespace {

template <typename T>
const TypedTable<T>& typed(const Table& table) {
  if constexpr (sizeof(T) == 2) {
    return table.bf16;
  } else {
    return table.f32;
  }
}

template <typename T>
std::vector<T> random_values(int64_t count, uint64_t stream, double scale = 1) {
  core::Rng rng(5, stream);
  std::vector<T> out(count);
  for (T& x : out) x = from_float<T>(static_cast<float>(scale * rng.normal()));
  return out;
}

template <typename T>
class Kernels : public testing::Test {
 protected:
  template <typename Body>
  void for_each_table(const Body& body) {
    for (int i = 0; i < num_tables(); ++i) {
      SCOPED_TRACE(table(i).name);
      body(typed<T>(table(i)));
    }
  }
};
using Types = testing::Types<float, Bf16>;
TYPED_TEST_SUITE(Kernels, Types);

template <typename T>
std::vector<const T*> row_pointers(const std::vector<T>& x, int64_t width) {
  std::vector<const T*> out;
  for (size_t at = 0; at < x.size(); at += width) out.push_back(x.data() + at);
  return out;
}

TYPED_TEST(Kernels, LinearIsTheProductAndTheSameBitsHoweverSplit) {
  using T = TypeParam;
  for (const int64_t k : {1, 15, 33, 64, 100, 576}) {
    const int64_t m = 8, n = 29;
    const auto x = random_values<T>(m * k, 1), w = random_values<T>(n * k, 2);
    const auto rows = row_pointers(x, k);
    this->for_each_table([&](const TypedTable<T>& table) {
      std::vector<float> whole(m * n, NAN);
      table.linear(rows.data(), m, w.data(), k, whole.data(), n, 0, n);
      for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = 0; j < n; ++j) {
          double want = 0, size = 1e-3;
          for (int64_t d = 0; d < k; ++d) {
            const double term = double{to_float(x[i * k + d])} * to_float(w[j * k + d]);
            want += term;
            size += std::abs(term);
          }
          ASSERT_NEAR(whole[i * n + j], want, 1e-6 * size) << k << " " << i << " " << j;
          float alone = NAN;
          table.linear(&rows[i], 1, w.data() + j * k, k, &alone, 1, 0, 1);
          ASSERT_EQ(alone, whole[i * n + j]);
        }
      }
      std::vector<float> pieces(m * n, NAN);
      for (int64_t begin = 0, size = 1; begin < n; begin += size, size = size % 11 + 1)
        table.linear(rows.data() + 1, m - 1, w.data(), k, pieces.data() + n, n, begin,
                     std::min(n, begin + size));
      EXPECT_TRUE(std::equal(pieces.begin() + n, pieces.end(), whole.begin() + n));
    });
  }
}

TYPED_TEST(Kernels, LinearTransposedIsTheProductOfEachRow) {
  using T = TypeParam;
  const int64_t m = 6, k = 19, n = 83, stride = 90;
  const auto x = random_values<T>(m * k, 1), w = random_values<T>(k * stride, 2);
  const auto rows = row_pointers(x, k);
  this->for_each_table([&](const TypedTable<T>& table) {
    std::vector<float> y(m * n), alone(n);
    table.linear_transposed(rows.data(), m, w.data(), stride, k, y.data(), n, n);
    for (int64_t i = 0; i < m; ++i) {
      table.linear_transposed(&rows[i], 1, w.data(), stride, k, alone.data(), n, n);
      for (int64_t j = 0; j < n; ++j) {
        double want = 0;
        for (int64_t d = 0; d < k; ++d)
          want += double{to_float(x[i * k + d])} * to_float(w[d * stride + j]);
        ASSERT_NEAR(y[i * n + j], want, 3e-5);
        ASSERT_EQ(y[i * n + j], alone[j]);
      }
    }
  });
}

// Attention over scattered blocks, from position `first` on.
TYPED_TEST(Kernels, AttendIsSoftmaxAttention) {
  using T = TypeParam;
  const int64_t block = 8, blocks = 12, width = 150, key_dim = 40, value_dim = 70;
  const auto rows = random_values<T>(block * blocks * width, 3);
  const std::vector<int32_t> table_ids = {7, 2, 11, 0, 5};
  const CacheView<T> view{rows.data(), width, 3, key_dim, 60, value_dim};
  for (const int64_t heads : {1, 2, 3, 6, 7}) {
    const auto q = random_values<T>(heads * key_dim, 4);
    for (const auto& [first, length] :
         std::vector<std::pair<int64_t, int64_t>>{{0, 1}, {0, 9}, {0, 40}, {13, 30}, {16, 17}}) {
      const Past past{table_ids.data(), block, first, length};
      this->for_each_table([&](const TypedTable<T>& table) {
        std::vector<float> scratch(heads * (length + 16)), out(heads * value_dim), alone(value_dim);
        table.attend(q.data(), heads, view, past, 0.2f, scratch.data(), out.data());
        for (int64_t h = 0; h < heads; ++h) {
          std::vector<double> weights;
          double total = 0;
          for (int64_t p = first; p < length; ++p) {
            double score = 0;
            for (int64_t d = 0; d < key_dim; ++d)
              score += double{to_float(q[h * key_dim + d])} *
                       to_float(rows[past.row(p) * width + 3 + d]);
            weights.push_back(std::exp(0.2 * score));
            total += weights.back();
          }
          for (int64_t d = 0; d < value_dim; ++d) {
            double want = 0;
            for (int64_t p = first; p < length; ++p)
              want += weights[p - first] / total * to_float(rows[past.row(p) * width + 60 + d]);
            ASSERT_NEAR(out[h * value_dim + d], want, 2e-5);
          }
          table.attend(q.data() + h * key_dim, 1, view, past, 0.2f, scratch.data(), alone.data());
          EXPECT_TRUE(std::equal(alone.begin(), alone.end(), out.begin() + h * value_dim));
        }
      });
    }
  }
}

TYPED_TEST(Kernels, ElementwiseOnesRoundAsTheTrainer) {
  using T = TypeParam;
  const double tolerance = sizeof(T) == 2 ? 0.01 : 1e-6;
  for (const int64_t n : {1, 16, 53}) {
    const auto x = random_values<T>(n, 6), w = random_values<T>(n, 7);
    auto gate = random_values<float>(n, 8, 3), up = random_values<float>(n, 9);
    gate[0] = -200;  // silu is 0 there, not NaN
    this->for_each_table([&](const TypedTable<T>& table) {
      std::vector<T> y(n), act(n), sum = x;
      table.rms_norm(x.data(), w.data(), y.data(), n, 1e-5f);
      table.swiglu(gate.data(), up.data(), act.data(), n);
      table.add(sum.data(), up.data(), n);
      std::vector<T> rounded(n);
      table.round(gate.data(), rounded.data(), n);
      double squares = 0;
      for (const T v : x) squares += double{to_float(v)} * to_float(v);
      for (int64_t i = 0; i < n; ++i) {
        const double norm = to_float(x[i]) / std::sqrt(squares / n + 1e-5) * to_float(w[i]);
        EXPECT_NEAR(to_float(y[i]), norm, tolerance * (1 + std::abs(norm)));
        const double silu = gate[i] / (1 + std::exp(-double{gate[i]})) * up[i];
        EXPECT_NEAR(to_float(act[i]), silu, tolerance * (1 + std::abs(silu)));
        EXPECT_EQ(rounded[i], from_float<T>(gate[i]));
        EXPECT_EQ(sum[i], from_float<T>(to_float(x[i]) + to_float(from_float<T>(up[i]))));
      }
    });
  }
}

TYPED_TEST(Kernels, RotateHalvesTurnsEachPair) {
  using T = TypeParam;
  for (const int64_t half : {1, 8, 32, 37}) {
    const auto x = random_values<T>(2 * half, 10);
    const auto angle = random_values<float>(half, 11, 3);
    std::vector<float> cos, sin;
    for (const float a : angle) {
      cos.push_back(std::cos(a));
      sin.push_back(std::sin(a));
    }
    this->for_each_table([&](const TypedTable<T>& table) {
      std::vector<T> y = x;
      table.rotate_halves(y.data(), cos.data(), sin.data(), half);
      for (int64_t i = 0; i < half; ++i) {
        const double a = to_float(x[i]), b = to_float(x[half + i]);
        const double tolerance = (sizeof(T) == 2 ? 0.01 : 1e-6) * (1 + std::abs(a) + std::abs(b));
        EXPECT_NEAR(to_float(y[i]), a * cos[i] - b * sin[i], tolerance);
        EXPECT_NEAR(to_float(y[half + i]), b * cos[i] + a * sin[i], tolerance);
      }
    });
  }
}

// The groups' products are whole numbers: only the sum over groups is rounded.
TEST(KernelTables, Int8ProductsAreThoseOfTheRoundedNumbers) {
  core::Rng rng(2, 2);
  const int64_t n = 83, columns = 96;
  for (const int64_t depth : {32, 64, 224}) {
    const int64_t m = 5, groups = depth / kInt8Group;
    std::vector<int8_t> x(m * depth);
    std::vector<uint8_t> w(columns * depth);
    std::vector<float> x_scales(m * groups), w_scales(columns);
    for (auto& v : x) v = static_cast<int8_t>(rng.integer(-127, 127));
    for (auto& v : w) v = static_cast<uint8_t>(rng.integer(1, 255));
    for (auto& v : x_scales) v = static_cast<float>(rng.uniform());
    for (auto& v : w_scales) v = static_cast<float>(rng.uniform());
    std::vector<int32_t> sums(m * groups, 0);
    for (int64_t i = 0; i < m * depth; ++i) sums[i / kInt8Group] += x[i];
    std::vector<Int8Row> rows;
    for (int64_t i = 0; i < m; ++i)
      rows.push_back({&x[i * depth], &x_scales[i * groups], &sums[i * groups]});
    for (int t = 0; t < num_tables(); ++t) {
      SCOPED_TRACE(table(t).name);
      const auto run = [&](int64_t first, int64_t count, int64_t begin, int64_t end, float* y) {
        table(t).linear_int8(&rows[first], count, w.data(), w_scales.data(), depth, y, n, begin,
                             end);
      };
      std::vector<float> y(m * n);
      run(0, m, 0, n, y.data());
      for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = 0; j < n; ++j) {
          double want = 0;
          for (int64_t d = 0; d < depth; ++d) {
            want += double{x_scales[i * groups + d / kInt8Group]} * x[i * depth + d] *
                    (w[int8_place(j, d, depth)] - 128);
          }
          ASSERT_NEAR(y[i * n + j], want * w_scales[j], 0.1);
        }
      }
      std::vector<float> split(m * n);
      for (int64_t i = 0; i < m; ++i) {
        run(i, 1, 0, 16, &split[i * n]);
        run(i, 1, 16, n, &split[i * n]);
      }
      EXPECT_EQ(split, y);
    }
  }
}

TEST(KernelTables, SoftmaxWeights) {
  for (const int64_t n : {1, 255, 256, 1000}) {
    const auto x = random_values<float>(n, 10, 8);
    for (int i = 0; i < num_tables(); ++i) {
      SCOPED_TRACE(table(i).name);
      const float peak = table(i).max_of(x.data(), n);
      EXPECT_EQ(peak, *std::max_element(x.begin(), x.end()));
      std::vector<float> weights(n), sums(n / kSumBlock + 1);
      const double total =
          table(i).exp_weights(x.data(), n, 0.7f, peak, weights.data(), sums.data());
      double want = 0;
      for (int64_t j = 0; j < n; ++j) {
        const double power = 0.7 * (double{x[j]} - peak), weight = std::exp(power);
        // The power itself is rounded to float32.
        EXPECT_NEAR(weights[j], weight, 3e-7 * (1 - power) * weight + 1e-37);
        want += weight;
      }
      EXPECT_NEAR(total, want, 1e-6 * want);
    }
  }
}

TEST(KernelTables, ASumOfWeightsSaysWhereALogitIsNotFinite) {
  for (const float wrong : {NAN, INFINITY}) {
    for (const int64_t at : {0, 7, 300, 999}) {
      auto x = random_values<float>(1000, 10, 8);
      x[at] = wrong;
      for (int i = 0; i < num_tables(); ++i) {
        SCOPED_TRACE(table(i).name);
        std::vector<float> weights(1000), sums(1000 / kSumBlock + 1);
        const float peak = table(i).max_of(x.data(), 1000);
        EXPECT_TRUE(
            std::isnan(table(i).exp_weights(x.data(), 1000, 1, peak, weights.data(), sums.data())));
      }
    }
  }
}

TYPED_TEST(Kernels, QuantizeRoundsEachGroupToItsScale) {
  using T = TypeParam;
  auto x = random_values<T>(77, 12);
  for (int i = 32; i < 64; ++i) x[i] = from_float<T>(100 * to_float(x[i]));
  this->for_each_table([&](const TypedTable<T>& table) {
    std::vector<int8_t> q(96);
    std::vector<float> scales(3);
    std::vector<int32_t> sums(3);
    table.quantize(x.data(), 77, q.data(), scales.data(), sums.data());
    std::vector<int> greatest(3), sum(3);
    for (size_t i = 0; i < q.size(); ++i) {
      const float value = i < x.size() ? to_float(x[i]) : 0, scale = scales[i / 32];
      EXPECT_LE(std::abs(q[i] * scale - value), 0.501f * scale);
      greatest[i / 32] = std::max(greatest[i / 32], std::abs(q[i]));
      sum[i / 32] += q[i];
    }
    EXPECT_EQ(greatest, std::vector<int>(3, 127));
    EXPECT_EQ(sums, sum);
    for (const float nothing : {0.0f, 1e-38f}) {
      const std::vector<T> zeros(5, from_float<T>(nothing));
      table.quantize(zeros.data(), 5, q.data(), scales.data(), sums.data());
      EXPECT_EQ(scales[0], 1);
      EXPECT_EQ(q[4], 0);
      EXPECT_EQ(sums[0], 0);
    }
    for (const float wrong : {NAN, INFINITY}) {
      std::vector<T> damaged = x;
      damaged[50] = from_float<T>(wrong);
      table.quantize(damaged.data(), 77, q.data(), scales.data(), sums.data());
      EXPECT_TRUE(std::isfinite(scales[0]) && !std::isfinite(scales[1]));
    }
  });
}

TEST(KernelTables, BfloatRoundsToNearestEven) {
  EXPECT_EQ(to_bf16(1.0f), 0x3f80);
  EXPECT_EQ(to_bf16(1.00390625f), 0x3f80);  // halfway to the next: even
  EXPECT_EQ(to_bf16(1.01171875f), 0x3f82);
  EXPECT_TRUE(std::isnan(to_float(to_bf16(NAN))));
  EXPECT_EQ(to_float(to_bf16(-INFINITY)), -INFINITY);
}

}  // namespace
}  // namespace ponder::policy::kernels

// The policy on a device: the same numbers as on the CPU, and nothing that the host could not do on
// a GPU's memory (tests/support/far_device.h).
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/random.h"
#include "policy/device/ops.h"
#include "policy/fp8.h"
#include "policy/model.h"
#include "policy/optimizer.h"
#include "tests/support/far_device.h"
#include "tests/support/gradients.h"
#include "tests/support/tiny_model.h"

namespace ponder::policy {
namespace {

using test::kFar;

// The greatest difference of two results and of the gradients of the inputs, relative to their
// size.
void expect_equal(const std::function<at::Tensor(const test::Inputs&)>& here,
                  const std::function<at::Tensor(const test::Inputs&)>& there,
                  const test::Inputs& inputs, double tolerance) {
  test::Inputs near, far;
  for (const at::Tensor& x : inputs) {
    near.push_back(x.clone().requires_grad_(true));
    far.push_back(x.clone().requires_grad_(true));
  }
  const at::Tensor a = here(near), b = there(far);
  EXPECT_LE((a - b).abs().max().item<double>(), tolerance * a.abs().max().item<double>());
  at::manual_seed(7);
  const at::Tensor direction = at::randn(a.sizes(), at::kFloat).to(a.scalar_type());
  (a * direction).sum().backward();
  (b * direction).sum().backward();
  for (size_t i = 0; i < inputs.size(); ++i) {
    SCOPED_TRACE(i);
    const at::Tensor want = near[i].grad(), got = far[i].grad();
    EXPECT_LE((want - got).abs().max().item<double>(),
              tolerance * std::max(1e-3, want.abs().max().item<double>()));
  }
}

TEST(DeviceOps, EqualTheCpusKernelsAndTheirGradients) {
  at::manual_seed(1);
  for (const auto dtype : {at::kDouble, at::kFloat}) {
    const double tolerance = dtype == at::kDouble ? 1e-12 : 2e-6;
    const auto random = [&](at::IntArrayRef shape) { return at::randn(shape, dtype); };
    expect_equal([](const auto& x) { return rms_norm(x[0], x[1], 1e-5); },
                 [](const auto& x) { return device::rms_norm(x[0], x[1], 1e-5); },
                 {random({7, 3, 20}), random({20})}, tolerance);
    expect_equal([](const auto& x) { return swiglu(x[0], x[1]); },
                 [](const auto& x) { return device::swiglu(x[0], x[1]); },
                 {random({9, 11}), random({9, 11})}, tolerance);
    const at::Tensor positions = at::arange(5) * 9;
    const std::vector<float> frequencies = rope_frequencies({}, 8);
    const Rotary rotary = rotary_tables(positions, frequencies, 1.5),
                 own = device::rotary_tables(positions, at::tensor(frequencies), 1.5);
    EXPECT_TRUE(at::allclose(rotary.cos, own.cos, 0, 1e-6));
    EXPECT_TRUE(at::allclose(rotary.sin, own.sin, 0, 1e-6));
    for (const bool interleave : {false, true}) {
      expect_equal(
          [&](const auto& x) { return rotate(x[0], rotary.cos, rotary.sin, interleave); },
          [&](const auto& x) { return device::rotate(x[0], rotary.cos, rotary.sin, interleave); },
          {random({5, 2, 8})}, tolerance);
    }
  }
}

TEST(DeviceOps, AttentionEqualsTheCpusOverSequencesTreesAndWindows) {
  at::manual_seed(2);
  const Segments sequences{.cu_seqlens = {0, 5, 5, 12, 13}, .parents = {}},
      tree{.cu_seqlens = {0, 4, 7, 9, 13}, .parents = {-1, 0, 0, 2}};
  for (const Segments& segments : {sequences, tree}) {
    for (const int64_t window : {0, 3}) {
      SCOPED_TRACE(window);
      const auto attend = [&](const auto& function) {
        return [&, function](const test::Inputs& x) {
          return function(x[0], x[1], x[2], segments, 0.4, window);
        };
      };
      expect_equal(attend([](const auto&... x) { return packed_attention(x...); }),
                   attend([](const auto&... x) { return device::packed_attention(x...); }),
                   {at::randn({13, 4, 6}), at::randn({13, 2, 6}), at::randn({13, 2, 5})}, 2e-6);
    }
  }
}

TEST(DeviceOps, LogprobsEqualTheCpusOverBlocksOfTheVocabulary) {
  at::manual_seed(3);
  const at::Tensor targets = at::randint(0, 9000, {40}, at::kLong);
  for (const auto dtype : {at::kDouble, at::kFloat}) {
    const auto both = [&](const auto& function) {
      return [&, function](const test::Inputs& x) {
        const TokenLogprobs out = function(x[0], x[1], targets, 0.7, KeptTokens{});
        return at::cat({out.logprobs, out.entropies});
      };
    };
    expect_equal(both([](const auto&... x) { return token_logprobs(x...); }),
                 both([](const auto&... x) { return device::token_logprobs(x...); }),
                 {at::randn({40, 16}, dtype), at::randn({9000, 16}, dtype)},
                 dtype == at::kDouble ? 1e-11 : 1e-5);
  }
}

TEST(DeviceOps, LogprobsOfKeptTokensEqualTheCpus) {
  at::manual_seed(4);
  const at::Tensor targets = at::tensor({3, 8500, 40, 7}, at::kLong);
  const KeptTokens kept{.ids = at::tensor({1, 3, 8999, 8500, 5, 40, 41}, at::kInt),
                        .counts = at::tensor({3, 1, 3, 0}, at::kLong)};
  const auto both = [&](const auto& function) {
    return [&, function](const test::Inputs& x) {
      const TokenLogprobs out = function(x[0], x[1], targets, 1.3, kept);
      return at::cat({out.logprobs, out.entropies});
    };
  };
  expect_equal(both([](const auto&... x) { return token_logprobs(x...); }),
               both([](const auto&... x) { return device::token_logprobs(x...); }),
               {at::randn({4, 8}), at::randn({9000, 8})}, 1e-5);
}

TEST(DeviceOps, PagedAttentionEqualsTheCpus) {
  at::manual_seed(5);
  const PagedContext context{.rows = at::tensor({0, 1, 1, 0}, at::kInt),
                             .lengths = at::tensor({1, 9, 24, 17}, at::kInt),
                             .block_table = at::tensor({4, 2, 0, 1, 5, 3}, at::kInt).view({2, 3}),
                             .block_size = 8};
  const at::Tensor latents = at::randn({48, 20}), queries = at::randn({4, 3, 20});
  EXPECT_TRUE(
      at::allclose(device::paged_attention(queries, latents, context, {.value_dim = 16}, 0.3),
                   latent_attention(queries, latents, context, 16, 0.3), 1e-5, 1e-6));
  const at::Tensor cache = at::randn({48, 2 * 2 * 6}), q = at::randn({4, 4, 6});
  for (const int64_t window : {0, 5}) {
    const device::CacheView view{.kv_heads = 2,
                                 .key_step = 6,
                                 .value_begin = 12,
                                 .value_step = 6,
                                 .value_dim = 6,
                                 .window = window};
    EXPECT_TRUE(at::allclose(device::paged_attention(q, cache, context, view, 0.3),
                             paged_attention(q, cache, context, 2, 0.3, window), 1e-5, 1e-6));
  }
}

TEST(DeviceOps, Fp8TilesHaveTheBitsOfTheCpus) {
  at::manual_seed(6);
  at::Tensor x = at::randn({260, 390}) * 30;
  x.narrow(0, 0, 1).zero_();
  for (const Fp8Tile tile : {kFp8Rows, kFp8Columns, kFp8Blocks}) {
    for (const Fp8Scale scale : {Fp8Scale::kExact, Fp8Scale::kPowerOfTwo}) {
      const Fp8Matrix want = quantize_fp8(x, tile, scale),
                      got = device::quantize_fp8(x, tile, scale);
      EXPECT_TRUE(at::equal(want.scales, got.scales));
      EXPECT_TRUE(at::equal(want.values.view(at::kByte), got.values.view(at::kByte)));
      EXPECT_TRUE(at::equal(dequantize_fp8(want), device::dequantize_fp8(got, at::kFloat)));
    }
  }
}

TEST(DeviceOps, MasterWeightsMoveAsTheCpusDo) {
  at::manual_seed(7);
  const at::Tensor grad = at::randn({37, 5});
  const at::Tensor start = at::randn({37, 5}).to(at::kBFloat16);
  struct Side {
    at::Tensor parameter, low, m, v;
  };
  for (const auto moments : {at::kFloat, at::kBFloat16}) {
    const auto side = [&] {
      return Side{start.clone(), at::zeros({37, 5}, at::kShort), at::zeros({37, 5}, moments),
                  at::zeros({37, 5}, moments)};
    };
    const Side near = side(), far = side();
    for (int64_t step = 1; step <= 30; ++step) {
      const AdamStep adam{.count = step,
                          .learning_rate = 1e-2,
                          .beta1 = 0.9,
                          .beta2 = 0.99,
                          .epsilon = 1e-8,
                          .weight_decay = 0.1,
                          .bias_correction1 = 1 - std::pow(0.9, step),
                          .bias_correction2 = 1 - std::pow(0.99, step),
                          .grad_scale = 0.5};
      master_adamw_(near.parameter, {near.low, near.m, near.v}, grad * step, adam);
      device::master_adamw_(far.parameter, {far.low, far.m, far.v}, grad * step, adam);
    }
    const at::Tensor difference =
        master_weights(near.parameter, near.low) - device::master_weights(far.parameter, far.low);
    // A last bit of a sum may round a bfloat16 moment the other way.
    EXPECT_LE(difference.abs().max().item<double>(), moments == at::kFloat ? 2e-6 : 5e-4);
    EXPECT_LE((near.m != far.m).sum().item<int64_t>(), moments == at::kFloat ? 37 * 5 : 5);
    // The parameter is its master rounded to nearest.
    const at::Tensor master = device::master_weights(far.parameter, far.low);
    EXPECT_TRUE(at::equal(far.parameter, master.to(at::kBFloat16)));
  }
}

}  // namespace
}  // namespace ponder::policy

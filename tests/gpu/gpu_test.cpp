// The policy on a GPU, held to the CPU: the plugin's kernels one by one here, whole models in
// tests/policy/device_model_test.cpp. Ends with status 1 and the reason where there is no GPU: a
// test that was asked for and could not run has not passed.
#include <cstdio>
#include <cstdlib>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "policy/cuda/open_plugin.h"
#include "policy/device/kernels.h"
#include "policy/device/ops.h"
#include "policy/fp8.h"
#include "policy/ops.h"
#include "policy/paged_attention.h"
#include "tests/support/test_device.h"

namespace ponder::test {

at::Device a_device() {
  return at::Device(at::kCUDA, 0);
}

}  // namespace ponder::test

namespace ponder::policy {
namespace {

const at::Device kGpu(at::kCUDA, 0);

TEST(Gpu, Fp8TilesHaveTheBitsOfTheHost) {
  at::manual_seed(1);
  const at::Tensor x = at::randn({260, 390});
  for (const Fp8Tile tile : {kFp8Rows, kFp8Columns, kFp8Blocks}) {
    for (const Fp8Scale scale : {Fp8Scale::kExact, Fp8Scale::kPowerOfTwo}) {
      const Fp8Matrix want = quantize_fp8(x, tile, scale),
                      got = quantize_fp8(x.to(kGpu), tile, scale);
      EXPECT_TRUE(got.values.is_cuda());
      EXPECT_TRUE(at::equal(got.scales.to(at::kCPU), want.scales));
      EXPECT_TRUE(at::equal(got.values.view(at::kByte).to(at::kCPU), want.values.view(at::kByte)));
    }
  }
}

// The emulation on the host is the oracle: products of E4M3 values are exact in float32 there, and
// the GPU's sums differ in their order, and on Hopper in the 14 bits of its accumulators.
TEST(Gpu, Fp8ProductsEqualTheHostsEmulation) {
  at::manual_seed(2);
  for (const auto& [tokens, in, out] :
       {std::array<int64_t, 3>{256, 512, 384}, std::array<int64_t, 3>{200, 330, 140}}) {
    const at::Tensor x = at::randn({tokens, in}), weight = at::randn({out, in}),
                     grad = at::randn({tokens, out});
    std::vector<at::Tensor> results[2];
    for (const at::Device device : {at::Device(at::kCPU), kGpu}) {
      const at::Tensor own_x = x.to(device).requires_grad_(),
                       own_weight = weight.to(device).requires_grad_();
      const at::Tensor y = fp8_linear(own_x, own_weight);
      y.backward(grad.to(device));
      results[device.is_cuda() ? 1 : 0] = {y.detach(), own_x.grad(), own_weight.grad()};
    }
    for (size_t i = 0; i < 3; ++i) {
      const at::Tensor want = results[0][i], got = results[1][i].to(at::kCPU);
      EXPECT_LE((want - got).norm().item<double>() / want.norm().item<double>(), 1e-3) << i;
    }
  }
}

TEST(Gpu, LogprobsEqualThePlainPathWithAndWithoutGradients) {
  at::manual_seed(3);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const at::Tensor hidden = at::randn({70, 64}).to(dtype),
                     weight = at::randn({9000, 64}).to(dtype),
                     targets = at::randint(0, 9000, {70}, at::kLong);
    const TokenLogprobs plain = token_logprobs(hidden, weight, targets, 0.8);
    // The plain path rounds bfloat16's logits.
    const double tolerance = dtype == at::kFloat ? 1e-3 : 0.2;
    for (const bool gradients : {true, false}) {
      const at::AutoGradMode mode(gradients);
      const TokenLogprobs got = token_logprobs(hidden.to(kGpu), weight.to(kGpu), targets, 0.8);
      EXPECT_TRUE(at::allclose(got.logprobs, plain.logprobs, 0, tolerance));
      EXPECT_TRUE(at::allclose(got.entropies, plain.entropies, 0, tolerance));
    }
  }
}

TEST(Gpu, PagedAttentionEqualsThePlainPath) {
  at::manual_seed(4);
  const PagedContext near{
      .rows = at::tensor({0, 1, 1, 0}, at::kInt),
      .lengths = at::tensor({1, 17, 128, 600}, at::kInt),
      .block_table =
          at::stack({at::arange(40, at::kInt), at::arange(39, -1, -1, at::kInt)}).contiguous()};
  const PagedContext far{near.rows.to(kGpu), near.lengths.to(kGpu), near.block_table.to(kGpu), 16};
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const double tolerance = dtype == at::kFloat ? 1e-4 : 3e-2;
    const at::Tensor queries = at::randn({4, 4, 576}).to(dtype),
                     latents = at::randn({640, 576}).to(dtype), q = at::randn({4, 4, 64}).to(dtype),
                     cache = at::randn({640, 2 * 2 * 64}).to(dtype);
    EXPECT_TRUE(at::allclose(
        latent_attention(queries.to(kGpu), latents.to(kGpu), far, 512, 0.05).to(at::kCPU),
        latent_attention(queries, latents, near, 512, 0.05), 0, tolerance));
    for (const int64_t window : {0, 100}) {
      EXPECT_TRUE(at::allclose(
          paged_attention(q.to(kGpu), cache.to(kGpu), far, 2, 0.1, window).to(at::kCPU),
          paged_attention(q, cache, near, 2, 0.1, window), 0, tolerance));
    }
  }
}

TEST(Gpu, NcclSumsInAGroupOfOne) {
  const c10::intrusive_ptr<c10d::Store> store = c10::make_intrusive<c10d::HashStore>();
  c10::intrusive_ptr<c10d::Backend> backend;
  open_cuda_plugin().make_nccl(&store, 0, 1, 10'000, &backend);
  ASSERT_TRUE(backend);
  EXPECT_EQ(backend->getSize(), 1);
  std::vector<at::Tensor> tensors = {at::ones({1000}, at::TensorOptions(kGpu))};
  backend->allreduce(tensors)->wait();
  EXPECT_EQ(tensors[0].sum().item<float>(), 1000);
}

}  // namespace
}  // namespace ponder::policy

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  ::setenv("PONDER_CUDA_PLUGIN", PONDER_BINARY_DIR "/libponder_cuda.so", 0);
  try {
    const ponder::policy::CudaPlugin& plugin = ponder::policy::open_cuda_plugin();
    plugin.set_device(0);
    ponder::policy::device::install_kernels(at::kCUDA, &plugin);
  } catch (const ponder::core::UserError& error) {
    std::fprintf(stderr, "gpu_test: not run: %s\n", error.what());
    return 1;
  }
  return RUN_ALL_TESTS();
}

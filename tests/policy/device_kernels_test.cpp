// The jobs that the plugin's kernels are given, on the stand-in for a GPU: kernels of the host that
// read them as cuda/*.h say, held to the CPU's own path.
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "policy/device/kernels.h"
#include "policy/fp8.h"
#include "policy/fp8_tile.h"
#include "policy/ops.h"
#include "tests/support/far_device.h"

namespace ponder::policy {
namespace {

using test::kFar;

template <typename T>
T* near(T* far) {
  return static_cast<T*>(test::near_pointer(far));
}

int quantised = 0, multiplied = 0, folded = 0;

int quantize(const Fp8Job& job, void*) {
  ++quantised;
  const int64_t across = (job.cols + job.tile_cols - 1) / job.tile_cols,
                down = (job.rows + job.tile_rows - 1) / job.tile_rows;
  for (int64_t t = 0; t < across * down; ++t) {
    const TileView tile = tile_at(t, job.rows, job.cols, job.tile_rows, job.tile_cols);
    const float scale = tile_scale(greatest_in_tile(near(job.x), tile), job.power_of_two);
    near(job.scales)[t] = scale;
    encode_tile(near(job.x), near(job.codes), scale, tile);
  }
  return 0;
}

// The scale of an operand's value, as cuBLAS's manual lays them out (13.0, section 3.1.4.5.1).
float scale_of(const float* scales, Fp8ScaleLayout layout, int64_t rows, int64_t depth, int64_t row,
               int64_t place) {
  const int64_t across = (depth + 127) / 128;
  if (layout == Fp8ScaleLayout::kRows) return scales[place / 128 * rows + row];
  return scales[row / 128 * ((across + 3) / 4 * 4) + place / 128];
}

int multiply(const Fp8GemmJob& job, void*) {
  ++multiplied;
  EXPECT_EQ(job.a_rows % 16 + job.b_rows % 16 + job.depth % 16, 0);
  EXPECT_FALSE(job.a_layout == Fp8ScaleLayout::kBlocks && job.b_layout == Fp8ScaleLayout::kBlocks);
  for (int64_t i = 0; i < job.a_rows; ++i) {
    for (int64_t j = 0; j < job.b_rows; ++j) {
      double sum = 0;
      for (int64_t k = 0; k < job.depth; ++k) {
        sum += static_cast<double>(from_e4m3(near(job.a)[i * job.depth + k])) *
               scale_of(near(job.a_scales), job.a_layout, job.a_rows, job.depth, i, k) *
               from_e4m3(near(job.b)[j * job.depth + k]) *
               scale_of(near(job.b_scales), job.b_layout, job.b_rows, job.depth, j, k);
      }
      near(job.out)[i * job.b_rows + j] = static_cast<float>(sum);
    }
  }
  return 0;
}

int not_supported(const Fp8GemmJob&, void*) {
  return 10015;
}

int fold(const LogprobJob& job, void*, void*) {
  ++folded;
  const at::Tensor hidden = at::from_blob(const_cast<void*>(near(job.hidden)),
                                          {job.tokens, job.width}, at::kFloat),
                   weight = at::from_blob(const_cast<void*>(near(job.weight)),
                                          {job.vocabulary, job.width}, at::kFloat);
  for (int64_t first = 0; first < job.vocabulary; first += job.columns) {
    const int64_t columns = std::min(job.columns, job.vocabulary - first);
    at::Tensor logits = at::from_blob(near(job.logits), {job.tokens, columns}, at::kFloat);
    logits.copy_(at::linear(hidden, weight.narrow(0, first, columns)));
    for (int64_t t = 0; t < job.tokens; ++t) {
      const float* row = near(job.logits) + t * columns;
      const LogitFold own = fold_logits(row, 0, 1, columns, 1 / job.temperature);
      LogitFold& whole = near(job.folds)[t];
      whole = first == 0 ? own : merge(whole, own);
      const int64_t target = near(job.targets)[t] - first;
      if (target >= 0 && target < columns) near(job.logprobs)[t] = row[target] / job.temperature;
    }
  }
  for (int64_t t = 0; t < job.tokens; ++t) {
    near(job.logprobs)[t] -= log_sum(near(job.folds)[t]);
    near(job.entropies)[t] = entropy(near(job.folds)[t]);
  }
  return 0;
}

class DeviceKernels : public testing::Test {
 protected:
  DeviceKernels() {
    plugin_.set_device = [](int) {};
    plugin_.current_stream = []() -> void* { return nullptr; };
    plugin_.cublas = []() -> void* { return nullptr; };
    plugin_.quantize_fp8 = quantize;
    plugin_.fp8_gemm = multiply;
    plugin_.token_logprobs = fold;
    device::install_kernels(at::kPrivateUse1, &plugin_);
    quantised = multiplied = folded = 0;
  }
  ~DeviceKernels() override { device::install_kernels(at::kCUDA, nullptr); }

  // fp8_linear's result and both gradients on a device, on the CPU.
  static std::vector<at::Tensor> products(at::Device device) {
    at::manual_seed(1);
    const at::Tensor x = at::randn({37, 150}), weight = at::randn({200, 150}),
                     grad = at::randn({37, 200});
    const at::Tensor own_x = x.to(device).requires_grad_(),
                     own_weight = weight.to(device).requires_grad_();
    const at::Tensor y = fp8_linear(own_x, own_weight);
    y.backward(grad.to(device));
    return {y.detach().to(at::kCPU), own_x.grad().to(at::kCPU), own_weight.grad().to(at::kCPU)};
  }
  static void expect_products_of_the_cpu() {
    const std::vector<at::Tensor> want = products(at::kCPU), got = products(kFar);
    for (size_t i = 0; i < want.size(); ++i)
      EXPECT_LE((want[i] - got[i]).abs().max().item<double>(), 2e-4) << i;
  }

  CudaPlugin plugin_;
};

TEST_F(DeviceKernels, Fp8ProductsOfOddShapesEqualTheCpus) {
  expect_products_of_the_cpu();
  EXPECT_EQ(multiplied, 3);
  EXPECT_GT(quantised, 3);
}

TEST_F(DeviceKernels, WithoutHardwareForFp8TheProductIsOfTheDequantised) {
  plugin_.fp8_gemm = not_supported;
  expect_products_of_the_cpu();
}

TEST_F(DeviceKernels, LogprobsWithoutGradientsComeFromTheKernel) {
  at::manual_seed(2);
  const at::Tensor hidden = at::randn({23, 16}), weight = at::randn({5000, 16}),
                   targets = at::randint(0, 5000, {23}, at::kLong);
  const at::NoGradGuard no_grad;
  const TokenLogprobs want = token_logprobs(hidden, weight, targets, 0.7),
                      got = token_logprobs(hidden.to(kFar), weight.to(kFar), targets, 0.7);
  EXPECT_EQ(folded, 1);
  EXPECT_TRUE(got.logprobs.is_cpu());
  EXPECT_TRUE(at::allclose(want.logprobs, got.logprobs, 0, 1e-4));
  EXPECT_TRUE(at::allclose(want.entropies, got.entropies, 0, 1e-4));
}

TEST_F(DeviceKernels, ALaunchThatFailsIsNamed) {
  plugin_.token_logprobs = [](const LogprobJob&, void*, void*) { return 700; };
  const at::NoGradGuard no_grad;
  try {
    token_logprobs(at::randn({2, 4}).to(kFar), at::randn({5, 4}).to(kFar),
                   at::tensor({1, 2}, at::kLong), 1.0);
    FAIL();
  } catch (const std::exception& error) {
    EXPECT_NE(std::string(error.what()).find("token_logprobs"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("700"), std::string::npos);
  }
}

}  // namespace
}  // namespace ponder::policy

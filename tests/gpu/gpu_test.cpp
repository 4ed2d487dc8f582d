// The CUDA kernels on a GPU, held to the plain path on the CPU. Fails, with the reason, where there
// is no GPU: a test that was asked for and could not run has not passed.
#include <cstdlib>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <vector>

#include <ATen/ATen.h>
#include <cublas_v2.h>
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include "policy/cuda/open_plugin.h"
#include "policy/fp8.h"
#include "policy/ops.h"
#include "policy/paged_attention.h"

namespace ponder::policy {
namespace {

const CudaPlugin& plugin() {
  ::setenv("PONDER_CUDA_PLUGIN", PONDER_BINARY_DIR "/libponder_cuda.so", 0);
  return open_cuda_plugin();
}

// A tensor's bytes on the device, for as long as this lives.
class OnDevice {
 public:
  explicit OnDevice(const at::Tensor& tensor) : bytes_(tensor.nbytes()) {
    cudaMalloc(&data_, bytes_);
    cudaMemcpy(data_, tensor.const_data_ptr(), bytes_, cudaMemcpyHostToDevice);
  }
  ~OnDevice() { cudaFree(data_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  void copy_to(const at::Tensor& tensor) const {
    cudaMemcpy(tensor.mutable_data_ptr(), data_, bytes_, cudaMemcpyDeviceToHost);
  }

 private:
  size_t bytes_;
  void* data_ = nullptr;
};

TEST(Gpu, Fp8TilesHaveTheBitsOfTheHost) {
  at::manual_seed(1);
  const at::Tensor x = at::randn({260, 390});
  for (const Fp8Tile tile : {kFp8Rows, kFp8Columns, kFp8Blocks}) {
    const Fp8Matrix want = quantize_fp8(x, tile);
    const at::Tensor codes = at::empty(x.sizes(), at::kByte), scales = at::empty_like(want.scales);
    const OnDevice dx(x), dcodes(codes), dscales(scales);
    const Fp8Job job{.x = dx.as<float>(),
                     .codes = dcodes.as<uint8_t>(),
                     .scales = dscales.as<float>(),
                     .rows = 260,
                     .cols = 390,
                     .tile_rows = tile.rows,
                     .tile_cols = tile.cols};
    ASSERT_EQ(plugin().quantize_fp8(job, nullptr), 0);
    dcodes.copy_to(codes);
    dscales.copy_to(scales);
    EXPECT_TRUE(at::equal(scales, want.scales));
    EXPECT_TRUE(at::equal(codes, want.values.view(at::kByte)));
  }
}

TEST(Gpu, LogprobsEqualThePlainPath) {
  at::manual_seed(2);
  cublasHandle_t cublas = nullptr;
  plugin();
  ASSERT_EQ(cublasCreate(&cublas), CUBLAS_STATUS_SUCCESS);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const at::Tensor hidden = at::randn({70, 64}).to(dtype),
                     weight = at::randn({5000, 64}).to(dtype),
                     targets = at::randint(0, 5000, {70}, at::kLong);
    const TokenLogprobs plain = token_logprobs(hidden, weight, targets, 0.8);
    const at::Tensor logprobs = at::empty({70}), entropies = at::empty({70});
    const OnDevice dh(hidden), dw(weight), dt(targets), dl(logprobs), de(entropies),
        work(at::empty({70, 2048})), folds(at::empty({70, 3}));
    const LogprobJob job{.hidden = dh.as<void>(),
                         .weight = dw.as<void>(),
                         .targets = dt.as<int64_t>(),
                         .logprobs = dl.as<float>(),
                         .entropies = de.as<float>(),
                         .logits = work.as<float>(),
                         .folds = folds.as<LogitFold>(),
                         .tokens = 70,
                         .width = 64,
                         .vocabulary = 5000,
                         .temperature = 0.8f,
                         .bfloat16 = dtype == at::kBFloat16};
    ASSERT_EQ(plugin().token_logprobs(job, cublas, nullptr), 0);
    dl.copy_to(logprobs);
    de.copy_to(entropies);
    // The plain path rounds bfloat16's logits.
    const double tolerance = dtype == at::kFloat ? 1e-3 : 0.2;
    EXPECT_TRUE(at::allclose(logprobs, plain.logprobs, 0, tolerance));
    EXPECT_TRUE(at::allclose(entropies, plain.entropies, 0, tolerance));
  }
  cublasDestroy(cublas);
}

TEST(Gpu, LatentAttentionEqualsThePlainPath) {
  at::manual_seed(3);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const at::Tensor queries = at::randn({4, 3, 576}).to(dtype),
                     cache = at::randn({40 * 16, 576}).to(dtype);
    const at::Tensor rows = at::tensor({0, 1, 1, 0}, at::kInt),
                     lengths = at::tensor({1, 17, 128, 600}, at::kInt),
                     table = at::stack({at::arange(40, at::kInt), at::arange(39, -1, -1, at::kInt)})
                                 .contiguous();
    const at::Tensor plain =
        latent_attention(queries, cache, {rows, lengths, table, 16}, 512, 0.05);
    const at::Tensor out = at::empty({4, 3, 512});
    const OnDevice dq(queries), dc(cache), dr(rows), dl(lengths), dt(table), dout(out);
    const LatentJob job{.queries = dq.as<void>(),
                        .cache = dc.as<void>(),
                        .rows = dr.as<int32_t>(),
                        .lengths = dl.as<int32_t>(),
                        .block_table = dt.as<int32_t>(),
                        .out = dout.as<float>(),
                        .num_queries = 4,
                        .heads = 3,
                        .width = 576,
                        .value_dim = 512,
                        .blocks = 40,
                        .scale = 0.05f,
                        .bfloat16 = dtype == at::kBFloat16};
    ASSERT_EQ(plugin().latent_attention(job, nullptr), 0);
    dout.copy_to(out);
    EXPECT_TRUE(at::allclose(out, plain.to(at::kFloat), 0, dtype == at::kFloat ? 1e-4 : 3e-2));
  }
}

TEST(Gpu, NcclMakesAGroupOfOne) {
  const c10::intrusive_ptr<c10d::Store> store = c10::make_intrusive<c10d::HashStore>();
  c10::intrusive_ptr<c10d::Backend> backend;
  plugin().make_nccl(&store, 0, 1, 10'000, &backend);
  ASSERT_TRUE(backend);
  EXPECT_EQ(backend->getSize(), 1);
}

}  // namespace
}  // namespace ponder::policy

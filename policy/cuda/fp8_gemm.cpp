#include "policy/cuda/fp8_gemm.h"

#include <memory>

#include <cublasLt.h>

namespace ponder::policy {
namespace {

constexpr int kCublasError = 10000;

template <typename Handle, cublasStatus_t (*Destroy)(Handle)>
struct Destroyer {
  using pointer = Handle;
  void operator()(Handle handle) const { Destroy(handle); }
};
using MatmulDesc = std::unique_ptr<cublasLtMatmulDesc_t,
                                   Destroyer<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>>;
using Layout = std::unique_ptr<cublasLtMatrixLayout_t,
                               Destroyer<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>>;
using Preference =
    std::unique_ptr<cublasLtMatmulPreference_t,
                    Destroyer<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>>;

// One handle a process: cuBLASLt's may be shared by threads.
cublasLtHandle_t handle() {
  static cublasLtHandle_t made = [] {
    cublasLtHandle_t fresh = nullptr;
    return cublasLtCreate(&fresh) == CUBLAS_STATUS_SUCCESS ? fresh : nullptr;
  }();
  return made;
}

int32_t scale_mode(Fp8ScaleLayout layout) {
  return layout == Fp8ScaleLayout::kRows ? CUBLASLT_MATMUL_MATRIX_SCALE_VEC128_32F
                                         : CUBLASLT_MATMUL_MATRIX_SCALE_BLK128x128_32F;
}

Layout matrix(cudaDataType type, int64_t rows, int64_t columns) {
  cublasLtMatrixLayout_t layout = nullptr;
  cublasLtMatrixLayoutCreate(&layout, type, static_cast<uint64_t>(rows),
                             static_cast<uint64_t>(columns), rows);
  return Layout(layout);
}

template <typename Value>
cublasStatus_t set(const MatmulDesc& desc, cublasLtMatmulDescAttributes_t name, Value value) {
  return cublasLtMatmulDescSetAttribute(desc.get(), name, &value, sizeof value);
}

// The modes, their pairs and the layouts of scales: cuBLAS 13's manual, section "128-element 1D and
// 128x128 2D Block Scaling for FP8 Data Types". cuBLAS counts by columns: our a [a_rows, depth] is
// its [depth, a_rows], so that the result [a_rows, b_rows] comes out as transpose(b) a, with b as
// its first operand.
cublasStatus_t describe(const Fp8GemmJob& job, const MatmulDesc& desc) {
  const cublasStatus_t done[] = {
      set(desc, CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T),
      set(desc, CUBLASLT_MATMUL_DESC_TRANSB, CUBLAS_OP_N),
      set(desc, CUBLASLT_MATMUL_DESC_A_SCALE_MODE, scale_mode(job.b_layout)),
      set(desc, CUBLASLT_MATMUL_DESC_B_SCALE_MODE, scale_mode(job.a_layout)),
      set(desc, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, job.b_scales),
      set(desc, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, job.a_scales),
  };
  for (const cublasStatus_t status : done)
    if (status != CUBLAS_STATUS_SUCCESS) return status;
  return CUBLAS_STATUS_SUCCESS;
}

Preference preference(int64_t workspace_bytes) {
  cublasLtMatmulPreference_t made = nullptr;
  cublasLtMatmulPreferenceCreate(&made);
  const auto bytes = static_cast<uint64_t>(workspace_bytes);
  cublasLtMatmulPreferenceSetAttribute(made, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes,
                                       sizeof bytes);
  return Preference(made);
}

}  // namespace

int fp8_gemm_cuda(const Fp8GemmJob& job, void* stream) {
  if (job.a_rows == 0 || job.b_rows == 0) return 0;
  if (handle() == nullptr) return kCublasError + CUBLAS_STATUS_NOT_INITIALIZED;
  cublasLtMatmulDesc_t made = nullptr;
  if (const auto status = cublasLtMatmulDescCreate(&made, CUBLAS_COMPUTE_32F, CUDA_R_32F))
    return kCublasError + status;
  const MatmulDesc desc(made);
  if (const auto status = describe(job, desc)) return kCublasError + status;
  const Layout first = matrix(CUDA_R_8F_E4M3, job.depth, job.b_rows),
               second = matrix(CUDA_R_8F_E4M3, job.depth, job.a_rows),
               out = matrix(CUDA_R_32F, job.b_rows, job.a_rows);
  cublasLtMatmulHeuristicResult_t best = {};
  int found = 0;
  if (const auto status = cublasLtMatmulAlgoGetHeuristic(
          handle(), desc.get(), first.get(), second.get(), out.get(), out.get(),
          preference(job.workspace_bytes).get(), 1, &best, &found))
    return kCublasError + status;
  if (found == 0) return kCublasError + CUBLAS_STATUS_NOT_SUPPORTED;
  const float one = 1, zero = 0;
  const auto status =
      cublasLtMatmul(handle(), desc.get(), &one, job.b, first.get(), job.a, second.get(), &zero,
                     job.out, out.get(), job.out, out.get(), &best.algo, job.workspace,
                     static_cast<size_t>(job.workspace_bytes), static_cast<cudaStream_t>(stream));
  return status == CUBLAS_STATUS_SUCCESS ? 0 : kCublasError + status;
}

}  // namespace ponder::policy

#include "policy/block_gemm.h"

#include <ATen/native/CPUBlas.h>

extern "C" {
// BLAS, as LibTorch exports it; column-major.
void sgemm_(const char* trans_a, const char* trans_b, const int* m, const int* n, const int* k,
            const float* alpha, const float* a, const int* lda, const float* b, const int* ldb,
            const float* beta, float* c, const int* ldc);
void dgemm_(const char* trans_a, const char* trans_b, const int* m, const int* n, const int* k,
            const double* alpha, const double* a, const int* lda, const double* b, const int* ldb,
            const double* beta, double* c, const int* ldc);
}

namespace ponder::policy {
namespace {

// Row-major c = a b is column-major c^T = b^T a^T.
template <typename T, typename Gemm>
void blas(Gemm gemm, int64_t m, int64_t n, int64_t k, const T* a, int64_t lda, const T* b,
          int64_t ldb, T* c, int64_t ldc, bool add) {
  const int rows = static_cast<int>(n), cols = static_cast<int>(m), inner = static_cast<int>(k);
  const int ld_first = static_cast<int>(ldb), ld_second = static_cast<int>(lda),
            ld_out = static_cast<int>(ldc);
  const T one = 1, beta = add ? 1 : 0;
  gemm("N", "N", &rows, &cols, &inner, &one, b, &ld_first, a, &ld_second, &beta, c, &ld_out);
}

}  // namespace

// oneDNN's kernels, which LibTorch hands out on x86 from AVX2 on; on Zen they are 2.5 times as fast
// as MKL's sgemm. bfloat16 without its own instruction would be slower than float32.
bool block_gemm_is_fast(c10::ScalarType dtype) {
#if defined(__x86_64__)
  static const bool single = __builtin_cpu_supports("avx2");
  static const bool half = __builtin_cpu_supports("avx512bf16");
  return (dtype == c10::kFloat && single) || (dtype == c10::kBFloat16 && half);
#else
  return false;
#endif
}

void block_gemm(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b,
                int64_t ldb, float* c, int64_t ldc, bool add) {
  if (block_gemm_is_fast(c10::kFloat)) {
    at::native::cpublas::brgemm(m, n, k, lda, ldb, ldc, add, a, b, c, /*is_vnni=*/false);
  } else {
    blas(sgemm_, m, n, k, a, lda, b, ldb, c, ldc, add);
  }
}

void block_gemm(int64_t m, int64_t n, int64_t k, const double* a, int64_t lda, const double* b,
                int64_t ldb, double* c, int64_t ldc, bool add) {
  blas(dgemm_, m, n, k, a, lda, b, ldb, c, ldc, add);
}

void block_gemm(int64_t m, int64_t n, int64_t k, const c10::BFloat16* a, int64_t lda,
                const c10::BFloat16* b, int64_t ldb, float* c, int64_t ldc, bool add) {
  at::native::cpublas::brgemm(m, n, k, lda, ldb, ldc, add, a, b, c, /*is_vnni=*/true);
}

void block_gemm_release() {
  at::native::cpublas::brgemm_release(/*is_vnni=*/true);
}

}  // namespace ponder::policy

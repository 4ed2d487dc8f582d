// Products of small matrices inside one thread, for kernels that work block by block.
#pragma once

#include <cstdint>

#include <c10/core/ScalarType.h>
#include <c10/util/BFloat16.h>

namespace ponder::policy {

// c [m, n] = a [m, k] b [k, n], or += where `add`. Row-major with row strides lda, ldb, ldc. Runs
// on the calling thread alone. Few distinct shapes should be asked for: each is compiled once a
// thread.
void block_gemm(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b,
                int64_t ldb, float* c, int64_t ldc, bool add);
void block_gemm(int64_t m, int64_t n, int64_t k, const double* a, int64_t lda, const double* b,
                int64_t ldb, double* c, int64_t ldc, bool add);

// bfloat16 with float32 sums; only where block_gemm_is_fast(at::kBFloat16). k is even, and b holds
// pairs along it: [k / 2, n, 2], ldb pairs between its rows. A thread that has called this calls
// block_gemm_release() when it is done.
void block_gemm(int64_t m, int64_t n, int64_t k, const c10::BFloat16* a, int64_t lda,
                const c10::BFloat16* b, int64_t ldb, float* c, int64_t ldc, bool add);
void block_gemm_release();

// Whether float32 or bfloat16 goes through kernels that beat LibTorch's products here; false for
// every other dtype.
bool block_gemm_is_fast(c10::ScalarType dtype);

}  // namespace ponder::policy

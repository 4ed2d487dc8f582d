// Products of small matrices inside one thread, for kernels that work block by block.
#pragma once

#include <cstdint>

namespace ponder::policy {

// c [m, n] = a [m, k] b [k, n], or += where `add`. Row-major with row strides lda, ldb, ldc. Runs
// on the calling thread alone. Few distinct shapes should be asked for: each is compiled once a
// thread.
void block_gemm(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b,
                int64_t ldb, float* c, int64_t ldc, bool add);
void block_gemm(int64_t m, int64_t n, int64_t k, const double* a, int64_t lda, const double* b,
                int64_t ldb, double* c, int64_t ldc, bool add);

// Whether float32 goes through kernels that beat BLAS on one thread; false: through BLAS.
bool block_gemm_is_fast();

}  // namespace ponder::policy

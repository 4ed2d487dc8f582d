// The tables of the instruction sets, one a .cpp file of this folder.
#pragma once

#include "policy/kernels/kernels.h"

namespace ponder::policy::kernels {

extern const Table kPlainTable;
// Of the plain table, for tables without one of their own.
void plain_linear_int8(const uint8_t* const* x, int64_t num_rows, const int8_t* w, int64_t k,
                       int32_t* y, int64_t y_stride, int64_t begin, int64_t end);
#if defined(__x86_64__)
extern const Table kAvx2Table;
extern const Table kAvx512Table;      // bfloat16 widened to float32
extern const Table kAvx512Bf16Table;  // bfloat16 by the processor's own dot product
#endif

}  // namespace ponder::policy::kernels

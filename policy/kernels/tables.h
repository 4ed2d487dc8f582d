// The tables of the instruction sets, one a .cpp file of this folder.
#pragma once

#include "policy/kernels/kernels.h"

namespace ponder::policy::kernels {

extern const Table kPlainTable;
// Of the plain table, for tables without one of their own.
void plain_linear_int8(const Int8Row* x, int64_t num_rows, const uint8_t* w, const float* w_scales,
                       int64_t depth, float* y, int64_t y_stride, int64_t begin, int64_t end);

// Of a group whose greatest magnitude is `peak`; 1 / scale is finite.
inline float int8_scale(float peak) {
  return peak < 1e-30f ? 1 : peak / 127;
}
#if defined(__x86_64__)
extern const Table kAvx2Table;
extern const Table kAvx512Table;      // bfloat16 widened to float32
extern const Table kAvx512Bf16Table;  // bfloat16 by the processor's own dot product
#endif

}  // namespace ponder::policy::kernels

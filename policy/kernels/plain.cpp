#include "policy/kernels/generic.h"
#include "policy/kernels/tables.h"

namespace ponder::policy::kernels {

const Table kPlainTable = make_table("plain");

void plain_linear_int8(const Int8Row* x, int64_t num_rows, const uint8_t* w, const float* w_scales,
                       int64_t depth, float* y, int64_t y_stride, int64_t begin, int64_t end) {
  linear_int8(x, num_rows, w, w_scales, depth, y, y_stride, begin, end);
}

}  // namespace ponder::policy::kernels

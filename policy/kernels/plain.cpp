#include "policy/kernels/generic.h"
#include "policy/kernels/tables.h"

namespace ponder::policy::kernels {

const Table kPlainTable = make_table("plain");

void plain_linear_int8(const uint8_t* const* x, int64_t num_rows, const int8_t* w, int64_t k,
                       int32_t* y, int64_t y_stride, int64_t begin, int64_t end) {
  linear_int8(x, num_rows, w, k, y, y_stride, begin, end);
}

}  // namespace ponder::policy::kernels

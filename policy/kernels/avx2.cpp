#if defined(__x86_64__)
#include "policy/kernels/generic.h"
#include "policy/kernels/tables.h"

namespace ponder::policy::kernels {

const Table kAvx2Table = make_table("avx2");

}  // namespace ponder::policy::kernels
#endif

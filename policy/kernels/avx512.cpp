#if defined(__x86_64__)
#include "policy/kernels/avx512.h"

namespace ponder::policy::kernels {

const Table kAvx512Table = make_avx512_table<WideBf16>("avx512", plain_linear_int8);

}  // namespace ponder::policy::kernels
#endif

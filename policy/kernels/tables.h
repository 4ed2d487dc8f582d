// The tables of the instruction sets, one a .cpp file of this folder.
#pragma once

#include "policy/kernels/kernels.h"

namespace ponder::policy::kernels {

extern const Table kPlainTable;
#if defined(__x86_64__)
extern const Table kAvx2Table;
extern const Table kAvx512Table;      // bfloat16 widened to float32
extern const Table kAvx512Bf16Table;  // bfloat16 by the processor's own dot product
#endif

}  // namespace ponder::policy::kernels

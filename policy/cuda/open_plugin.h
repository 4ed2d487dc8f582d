// Opens libponder_cuda.so, once a process.
#pragma once

#include "policy/cuda/plugin.h"

namespace ponder::policy {

// The plugin beside the program, or the one that PONDER_CUDA_PLUGIN names. Throws UserError saying
// why it cannot be opened (not built, a library of CUDA's missing, of another build) or that there
// is no GPU.
const CudaPlugin& open_cuda_plugin();

}  // namespace ponder::policy

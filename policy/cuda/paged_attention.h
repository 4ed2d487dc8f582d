// policy/paged_attention.h on a CUDA device, cached latents (MLA) and cached keys and values (GQA)
// alike: a block of threads a head of a query. Lengths and block tables are read on the device and
// the launch depends on the number of queries alone, so that it may stand in a CUDA graph. Plain
// pointers: nvcc sees no LibTorch.
#pragma once

#include <cstdint>

namespace ponder::policy {

// All pointers on the device; shapes as in policy/paged_attention.h, the heads' part of the cache
// as in policy/device/ops.h's CacheView.
struct PagedJob {
  const void* queries = nullptr;         // [queries, heads, width]
  const void* cache = nullptr;           // [slots, stride], the same dtype
  const int32_t* rows = nullptr;         // [queries]
  const int32_t* lengths = nullptr;      // [queries]
  const int32_t* block_table = nullptr;  // [rows, blocks]
  float* out = nullptr;                  // [queries, heads, value_dim] float32
  int64_t num_queries = 0, heads = 0, width = 0, stride = 0;
  int64_t kv_heads = 1, key_step = 0;
  int64_t value_begin = 0, value_step = 0, value_dim = 0;
  int64_t window = 0;  // positions; 0: all
  int64_t blocks = 0, block_size = 16;
  float scale = 1;
  bool bfloat16 = false;  // queries and cache; else float32
};

// Starts the work on `stream` (a cudaStream_t) and returns the launch's cudaError_t, 0 where it
// went well. REQUIRES: value_dim <= 1024.
int paged_attention_cuda(const PagedJob& job, void* stream);

}  // namespace ponder::policy

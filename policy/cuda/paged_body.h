// Attention of one query head over a paged cache, tile by tile with an online softmax: over cached
// latents (MLA with absorbed projections, DeepSeek-V2, arXiv:2405.04434 §2.1.2) or one key head of
// GQA. The body of the CUDA kernel of policy/cuda/paged_attention.cu, compiled for the host too,
// where the tests hold it to policy/paged_attention.h.
#pragma once

#include <cmath>

#include "policy/cuda/paged_attention.h"
#include "policy/host_device.h"

namespace ponder::policy {

// What one head of one query sees.
template <typename T>
struct HeadOfQuery {
  const T* query = nullptr;         // [width]
  const T* keys = nullptr;          // of slot 0; slots are `stride` apart
  const T* values = nullptr;        // the same
  const int32_t* blocks = nullptr;  // the query's row of the block table
  int64_t block_size = 16, stride = 0, width = 0, value_dim = 0;
  int64_t first = 0, length = 0;  // positions [first, length)
  float scale = 1;
};

template <typename T>
PONDER_HOST_DEVICE inline HeadOfQuery<T> head_of_query(const PagedJob& job, int64_t query,
                                                       int64_t head) {
  const int64_t key_head = head * job.kv_heads / job.heads, length = job.lengths[query];
  const T* cache = static_cast<const T*>(job.cache);
  HeadOfQuery<T> view;
  view.query = static_cast<const T*>(job.queries) + (query * job.heads + head) * job.width;
  view.keys = cache + key_head * job.key_step;
  view.values = cache + job.value_begin + key_head * job.value_step;
  view.blocks = job.block_table + job.rows[query] * job.blocks;
  view.block_size = job.block_size;
  view.stride = job.stride;
  view.width = job.width;
  view.value_dim = job.value_dim;
  view.first = job.window > 0 && length > job.window ? length - job.window : 0;
  view.length = length;
  view.scale = job.scale;
  return view;
}

// Elements from the cache's start to a position's slot.
template <typename T>
PONDER_HOST_DEVICE inline int64_t slot_offset(const HeadOfQuery<T>& view, int64_t position) {
  return (view.blocks[position / view.block_size] * view.block_size + position % view.block_size) *
         view.stride;
}

template <typename T>
PONDER_HOST_DEVICE inline float key_score(const HeadOfQuery<T>& view, int64_t position) {
  const T* key = view.keys + slot_offset(view, position);
  float sum = 0;
  for (int64_t i = 0; i < view.width; ++i) sum += load_value(view.query[i]) * load_value(key[i]);
  return sum * view.scale;
}

// The softmax over tiles so far.
struct TileSoftmax {
  float peak = -INFINITY;
  float total = 0;
};

// Takes in a tile with this peak; returns what sums so far are to be multiplied by.
PONDER_HOST_DEVICE inline float raise_peak(TileSoftmax& softmax, float tile_peak) {
  const float peak = fmaxf(softmax.peak, tile_peak);
  const float factor = softmax.total == 0 ? 0.0f : expf(softmax.peak - peak);
  softmax.peak = peak;
  softmax.total *= factor;
  return factor;
}

// sum over the tile's positions of weight * value, one column of the result.
template <typename T>
PONDER_HOST_DEVICE inline float weighted_values(const HeadOfQuery<T>& view, int64_t first,
                                                int64_t count, const float* weights,
                                                int64_t column) {
  float sum = 0;
  for (int64_t i = 0; i < count; ++i)
    sum += weights[i] * load_value(view.values[slot_offset(view, first + i) + column]);
  return sum;
}

}  // namespace ponder::policy

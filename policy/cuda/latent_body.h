// Attention of one query head over cached latents (MLA with absorbed projections, DeepSeek-V2,
// arXiv:2405.04434 §2.1.2), tile by tile with an online softmax. The body of the CUDA kernel of
// policy/cuda/latent_attention.cu, compiled for the host too, where the tests hold it to
// policy/paged_attention.h.
#pragma once

#include <cmath>

#include "policy/host_device.h"

namespace ponder::policy {

// What one head of one query sees.
template <typename T>
struct LatentView {
  const T* query = nullptr;         // [width]
  const T* cache = nullptr;         // [slots, width]
  const int32_t* blocks = nullptr;  // the query's row of the block table
  int64_t block_size = 16, width = 0, value_dim = 0;
  int64_t length = 0;  // positions
  float scale = 1;
};

template <typename T>
PONDER_HOST_DEVICE inline const T* cached(const LatentView<T>& view, int64_t position) {
  const int64_t slot =
      view.blocks[position / view.block_size] * view.block_size + position % view.block_size;
  return view.cache + slot * view.width;
}

template <typename T>
PONDER_HOST_DEVICE inline float latent_score(const LatentView<T>& view, int64_t position) {
  const T* key = cached(view, position);
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
PONDER_HOST_DEVICE inline float weighted_values(const LatentView<T>& view, int64_t first,
                                                int64_t count, const float* weights,
                                                int64_t column) {
  float sum = 0;
  for (int64_t i = 0; i < count; ++i)
    sum += weights[i] * load_value(cached(view, first + i)[column]);
  return sum;
}

}  // namespace ponder::policy

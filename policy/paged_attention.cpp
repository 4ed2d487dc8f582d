#include "policy/paged_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "core/error.h"
#include "policy/device/ops.h"

namespace ponder::policy {
namespace {

// Queries that one thread takes at least.
constexpr int64_t kGrainQueries = 4;

// The part of the cache's rows that one head reads.
struct HeadView {
  int64_t stride;  // elements from slot to slot
  int64_t key_begin, key_dim;
  int64_t value_begin, value_dim;
};

template <typename T>
float dot(const T* a, const T* b, int64_t n) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += float(a[i]) * float(b[i]);
  return sum;
}

// Slots of the cache that hold positions first..length-1, in order.
void find_slots(const int32_t* table, int64_t block_size, int64_t first, int64_t length,
                std::vector<int64_t>& slots) {
  slots.resize(length - first);
  for (int64_t p = first; p < length; ++p)
    slots[p - first] = table[p / block_size] * block_size + p % block_size;
}

// scores becomes the softmax of scale * <query, key of each slot>.
template <typename T>
void attention_weights(const T* query, const T* cache, const std::vector<int64_t>& slots,
                       const HeadView& head, float scale, std::vector<float>& scores) {
  scores.resize(slots.size());
  float peak = -std::numeric_limits<float>::infinity();
  for (size_t p = 0; p < slots.size(); ++p) {
    scores[p] = scale * dot(query, cache + slots[p] * head.stride + head.key_begin, head.key_dim);
    peak = std::max(peak, scores[p]);
  }
  float total = 0;
  for (float& score : scores) {
    score = std::exp(score - peak);
    total += score;
  }
  for (float& score : scores) score /= total;
}

template <typename T>
void weighted_values(const T* cache, const std::vector<int64_t>& slots, const HeadView& head,
                     const std::vector<float>& weights, std::vector<float>& sum, T* out) {
  sum.assign(head.value_dim, 0.0f);
  for (size_t p = 0; p < slots.size(); ++p) {
    const float weight = weights[p];
    const T* value = cache + slots[p] * head.stride + head.value_begin;
#pragma omp simd
    for (int64_t d = 0; d < head.value_dim; ++d) sum[d] += weight * float(value[d]);
  }
  for (int64_t d = 0; d < head.value_dim; ++d) out[d] = T(sum[d]);
}

// view_of(h) says what query head h reads.
template <typename T, typename ViewOf>
void attend(const at::Tensor& queries, const at::Tensor& cache, const PagedContext& context,
            double scale, int64_t window, const ViewOf& view_of, at::Tensor& out) {
  const int64_t count = queries.size(0), heads = queries.size(1), width = queries.size(2),
                value_dim = out.size(2), table_width = context.block_table.size(1);
  const T *q = queries.const_data_ptr<T>(), *cached = cache.const_data_ptr<T>();
  const int32_t *rows = context.rows.const_data_ptr<int32_t>(),
                *lengths = context.lengths.const_data_ptr<int32_t>(),
                *table = context.block_table.const_data_ptr<int32_t>();
  T* result = out.data_ptr<T>();
  at::parallel_for(0, count, kGrainQueries, [&](int64_t begin, int64_t end) {
    std::vector<int64_t> slots;
    std::vector<float> weights, sum;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = window > 0 ? std::max<int64_t>(0, lengths[i] - window) : 0;
      find_slots(table + rows[i] * table_width, context.block_size, first, lengths[i], slots);
      for (int64_t h = 0; h < heads; ++h) {
        const HeadView head = view_of(h);
        attention_weights(q + (i * heads + h) * width, cached, slots, head,
                          static_cast<float>(scale), weights);
        weighted_values(cached, slots, head, weights, sum, result + (i * heads + h) * value_dim);
      }
    }
  });
}

template <typename ViewOf>
at::Tensor attend_any(const at::Tensor& queries, const at::Tensor& cache,
                      const PagedContext& context, int64_t value_dim, double scale, int64_t window,
                      const ViewOf& view_of) {
  PONDER_CHECK(cache.scalar_type() == queries.scalar_type(),
               "[paged attention] queries of {}, cache of {}", at::toString(queries.scalar_type()),
               at::toString(cache.scalar_type()));
  const at::Tensor q = queries.contiguous();
  at::Tensor out = at::empty({q.size(0), q.size(1), value_dim}, q.options());
  if (q.scalar_type() == at::kBFloat16) {
    attend<at::BFloat16>(q, cache, context, scale, window, view_of, out);
  } else {
    attend<float>(q, cache, context, scale, window, view_of, out);
  }
  return out;
}

}  // namespace

at::Tensor latent_attention(const at::Tensor& queries, const at::Tensor& cache,
                            const PagedContext& context, int64_t value_dim, double scale) {
  const int64_t width = queries.size(2);
  PONDER_CHECK(cache.size(1) == width, "[latent_attention] queries of width {}, cache of width {}",
               width, cache.size(1));
  if (!queries.is_cpu())
    return device::paged_attention(queries, cache, context, {.value_dim = value_dim}, scale);
  return attend_any(queries, cache, context, value_dim, scale, /*window=*/0, [&](int64_t) {
    return HeadView{width, 0, width, 0, value_dim};
  });
}

at::Tensor paged_attention(const at::Tensor& queries, const at::Tensor& cache,
                           const PagedContext& context, int64_t kv_heads, double scale,
                           int64_t window) {
  const int64_t heads = queries.size(1), dim = queries.size(2);
  PONDER_CHECK(cache.size(1) == 2 * kv_heads * dim && heads % kv_heads == 0,
               "[paged_attention] {} heads of {} over {} cached heads, cache of width {}", heads,
               dim, kv_heads, cache.size(1));
  if (!queries.is_cpu()) {
    return device::paged_attention(queries, cache, context,
                                   {.kv_heads = kv_heads,
                                    .key_step = dim,
                                    .value_begin = kv_heads * dim,
                                    .value_step = dim,
                                    .value_dim = dim,
                                    .window = window},
                                   scale);
  }
  return attend_any(queries, cache, context, dim, scale, window, [&](int64_t h) {
    const int64_t head = h * kv_heads / heads;
    return HeadView{cache.size(1), head * dim, dim, (kv_heads + head) * dim, dim};
  });
}

}  // namespace ponder::policy

#include <algorithm>
#include <limits>
#include <vector>

#include <ATen/ATen.h>

#include "policy/device/kernels.h"
#include "policy/device/ops.h"

namespace ponder::policy::device {
namespace {

// float32 values of cached features that stand in memory at once, 256 MiB.
constexpr int64_t kGatheredMax = int64_t{1} << 26;

// Segments from the root of a segment's tree to the segment itself.
std::vector<int64_t> chain_of(const Segments& segments, int64_t segment) {
  std::vector<int64_t> chain = {segment};
  while (!segments.parents.empty() && segments.parents[chain.back()] >= 0)
    chain.push_back(segments.parents[chain.back()]);
  std::reverse(chain.begin(), chain.end());
  return chain;
}

// bool [queries, keys]: what queries, the last of the keys' positions, see.
at::Tensor visible(int64_t queries, int64_t keys, int64_t window, at::Device device) {
  const auto options = at::TensorOptions(at::kLong).device(device);
  const at::Tensor query = at::arange(keys - queries, keys, options).unsqueeze(1),
                   key = at::arange(keys, options);
  return key.le(query) & key.gt(query - window);
}

// [tokens, heads, dim] -> [1, heads, tokens, dim].
at::Tensor by_heads(const at::Tensor& x) {
  return x.transpose(0, 1).unsqueeze(0);
}

}  // namespace

at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const Segments& segments, double scale, int64_t window) {
  const int64_t reach = window > 0 ? window : std::numeric_limits<int32_t>::max(),
                group = q.size(1) / k.size(1);
  const std::vector<int32_t>& borders = segments.cu_seqlens;
  std::vector<at::Tensor> out;
  for (int64_t s = 0; s + 1 < std::ssize(borders); ++s) {
    const int64_t length = borders[s + 1] - borders[s];
    if (length == 0) continue;
    std::vector<at::Tensor> keys, values;
    for (const int64_t c : chain_of(segments, s)) {
      keys.push_back(k.narrow(0, borders[c], borders[c + 1] - borders[c]));
      values.push_back(v.narrow(0, borders[c], borders[c + 1] - borders[c]));
    }
    at::Tensor key = keys.size() == 1 ? keys[0] : at::cat(keys),
               value = values.size() == 1 ? values[0] : at::cat(values);
    const int64_t count = key.size(0);
    const bool plain = count == length && reach >= count;
    if (!plain && group > 1) {  // under a mask CUDA's kernels take equal heads alone
      key = key.repeat_interleave(group, 1);
      value = value.repeat_interleave(group, 1);
    }
    const auto mask =
        plain ? c10::optional<at::Tensor>() : visible(length, count, reach, q.device());
    const at::Tensor attended = at::scaled_dot_product_attention(
        by_heads(q.narrow(0, borders[s], length)), by_heads(key), by_heads(value), mask,
        /*dropout_p=*/0.0, /*is_causal=*/plain, scale, /*enable_gqa=*/plain && group > 1);
    out.push_back(attended.squeeze(0).transpose(0, 1));
  }
  if (out.empty()) return at::zeros({0, q.size(1), v.size(2)}, q.options());
  return at::cat(out);
}

namespace {

// int64 [queries, positions]: where each position of each query's row lies in the cache.
at::Tensor slots_of(const PagedContext& context) {
  const at::Tensor blocks =
      context.block_table.index_select(0, context.rows).to(at::kLong) * context.block_size;
  const at::Tensor inside = at::arange(context.block_size, blocks.options());
  return (blocks.unsqueeze(2) + inside).flatten(1);
}

// Some queries against all positions that their rows have room for.
at::Tensor attend(const at::Tensor& queries, const at::Tensor& cache, const at::Tensor& slots,
                  const at::Tensor& lengths, const CacheView& view, double scale) {
  const int64_t n = queries.size(0), heads = queries.size(1), width = queries.size(2),
                positions = slots.size(1), group = heads / view.kv_heads;
  const at::Tensor rows =
      cache.index_select(0, slots.flatten()).view({n, positions, -1}).to(at::kFloat);
  // [queries, key heads, positions, features]
  const auto part = [&](int64_t begin, int64_t step, int64_t dim) {
    const at::Tensor whole = rows.narrow(2, begin, step == 0 ? dim : view.kv_heads * step);
    return whole.view({n, positions, view.kv_heads, -1}).transpose(1, 2);
  };
  const at::Tensor q = queries.to(at::kFloat).view({n, view.kv_heads, group, width});
  const at::Tensor scores = at::matmul(q, part(0, view.key_step, width).transpose(2, 3)) * scale;
  const at::Tensor position = at::arange(positions, lengths.options()), end = lengths.unsqueeze(1);
  at::Tensor closed = position.ge(end);
  if (view.window > 0) closed = closed | position.lt(end - view.window);
  const at::Tensor weights =
      scores.masked_fill(closed.unsqueeze(1).unsqueeze(1), -std::numeric_limits<float>::infinity())
          .softmax(-1);
  return at::matmul(weights, part(view.value_begin, view.value_step, view.value_dim))
      .reshape({n, heads, view.value_dim})
      .to(queries.scalar_type());
}

at::Tensor by_kernel(const CudaPlugin& kernels, const at::Tensor& queries, const at::Tensor& cache,
                     const PagedContext& context, const CacheView& view, double scale) {
  const at::Tensor q = queries.contiguous();
  const at::Tensor out =
      at::empty({q.size(0), q.size(1), view.value_dim}, q.options().dtype(at::kFloat));
  const PagedJob job{.queries = q.const_data_ptr(),
                     .cache = cache.const_data_ptr(),
                     .rows = context.rows.const_data_ptr<int32_t>(),
                     .lengths = context.lengths.const_data_ptr<int32_t>(),
                     .block_table = context.block_table.const_data_ptr<int32_t>(),
                     .out = out.data_ptr<float>(),
                     .num_queries = q.size(0),
                     .heads = q.size(1),
                     .width = q.size(2),
                     .stride = cache.size(1),
                     .kv_heads = view.kv_heads,
                     .key_step = view.key_step,
                     .value_begin = view.value_begin,
                     .value_step = view.value_step,
                     .value_dim = view.value_dim,
                     .window = view.window,
                     .blocks = context.block_table.size(1),
                     .block_size = context.block_size,
                     .scale = static_cast<float>(scale),
                     .bfloat16 = q.scalar_type() == at::kBFloat16};
  check_launch(kernels.paged_attention(job, kernels.current_stream()), "paged_attention");
  return out.to(queries.scalar_type());
}

}  // namespace

at::Tensor paged_attention(const at::Tensor& queries, const at::Tensor& cache,
                           const PagedContext& context, const CacheView& view, double scale) {
  constexpr int64_t kKernelValues = 1024;  // the kernel's bound (cuda/paged_attention.h)
  if (const CudaPlugin* kernels = kernels_for(queries); kernels && view.value_dim <= kKernelValues)
    return by_kernel(*kernels, queries, cache, context, view, scale);
  const at::Tensor slots = slots_of(context);
  const int64_t n = queries.size(0);
  const int64_t at_once =
      std::max<int64_t>(1, kGatheredMax / std::max<int64_t>(1, slots.size(1) * cache.size(1)));
  std::vector<at::Tensor> out;
  for (int64_t begin = 0; begin < n; begin += at_once) {
    const int64_t count = std::min(at_once, n - begin);
    out.push_back(attend(queries.narrow(0, begin, count), cache, slots.narrow(0, begin, count),
                         context.lengths.narrow(0, begin, count), view, scale));
  }
  return out.size() == 1 ? out[0] : at::cat(out);
}

}  // namespace ponder::policy::device

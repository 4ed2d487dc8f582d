#include "policy/attention.h"

#include <cmath>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include "core/error.h"

namespace ponder::policy {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// Query rows whose scores stand in memory at once, for one sequence.
constexpr int64_t kQueryRows = 256;

// One block of query rows [begin, end) of a sequence against its keys [0, end): tensors are [heads,
// length, dim] views.
struct Block {
  int64_t begin;
  int64_t end;
};

std::vector<Block> query_blocks(int64_t length) {
  std::vector<Block> blocks;
  for (int64_t begin = 0; begin < length; begin += kQueryRows) {
    blocks.push_back({begin, std::min(begin + kQueryRows, length)});
  }
  return blocks;
}

// softmax(scale * q k^T) with the causal mask, [heads, rows, end].
at::Tensor probabilities(const at::Tensor& q, const at::Tensor& k, Block block, double scale) {
  const int64_t rows = block.end - block.begin;
  at::Tensor scores =
      at::bmm(q.narrow(1, block.begin, rows), k.narrow(1, 0, block.end).transpose(1, 2))
          .mul_(scale);
  const at::Tensor future =
      at::ones({rows, block.end}, scores.options().dtype(at::kBool)).triu_(block.begin + 1);
  scores.masked_fill_(future, -std::numeric_limits<double>::infinity());
  return at::softmax(scores, -1,
                     scores.scalar_type() == at::kBFloat16 ? at::kFloat : scores.scalar_type())
      .to(q.scalar_type());
}

at::Tensor sequence(const at::Tensor& packed, int64_t begin, int64_t end) {
  return packed.narrow(0, begin, end - begin).transpose(0, 1);
}

// Calls body(begin, end) for each sequence, sequences in parallel.
template <typename Body>
void for_each_sequence(const std::vector<int64_t>& cu_seqlens, const Body& body) {
  at::parallel_for(0, static_cast<int64_t>(cu_seqlens.size()) - 1, 1,
                   [&](int64_t first, int64_t last) {
                     const at::NoGradGuard no_grad;
                     for (int64_t s = first; s < last; ++s) {
                       if (cu_seqlens[s + 1] > cu_seqlens[s])
                         body(cu_seqlens[s], cu_seqlens[s + 1]);
                     }
                   });
}

struct PackedAttention : Function<PackedAttention> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, const std::vector<int64_t>& cu_seqlens,
                            double scale) {
    at::Tensor out = at::empty({q.size(0), q.size(1), v.size(2)}, q.options());
    for_each_sequence(cu_seqlens, [&](int64_t begin, int64_t end) {
      const at::Tensor qs = sequence(q, begin, end), ks = sequence(k, begin, end),
                       vs = sequence(v, begin, end);
      at::Tensor os = sequence(out, begin, end);
      for (const Block block : query_blocks(end - begin)) {
        const at::Tensor p = probabilities(qs, ks, block, scale);
        os.narrow(1, block.begin, block.end - block.begin)
            .copy_(at::bmm(p, vs.narrow(1, 0, block.end)));
      }
    });
    ctx->save_for_backward({q, k, v});
    ctx->saved_data["cu_seqlens"] = cu_seqlens;
    ctx->saved_data["scale"] = scale;
    return out;
  }

  // dV = P^T dO, dS = P (dP - rowsum(dP P)) with dP = dO V^T, dQ = scale dS K, dK = scale dS^T Q.
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2];
    const double scale = ctx->saved_data["scale"].toDouble();
    at::Tensor dq = at::zeros_like(q), dk = at::zeros_like(k), dv = at::zeros_like(v);
    for_each_sequence(ctx->saved_data["cu_seqlens"].toIntVector(), [&](int64_t begin, int64_t end) {
      const at::Tensor qs = sequence(q, begin, end), ks = sequence(k, begin, end),
                       vs = sequence(v, begin, end);
      const at::Tensor gs = sequence(grads[0], begin, end);
      at::Tensor dqs = sequence(dq, begin, end), dks = sequence(dk, begin, end),
                 dvs = sequence(dv, begin, end);
      for (const Block block : query_blocks(end - begin)) {
        const int64_t rows = block.end - block.begin;
        const at::Tensor p = probabilities(qs, ks, block, scale);
        const at::Tensor g = gs.narrow(1, block.begin, rows);
        dvs.narrow(1, 0, block.end).add_(at::bmm(p.transpose(1, 2), g));
        const at::Tensor dp = at::bmm(g, vs.narrow(1, 0, block.end).transpose(1, 2));
        const at::Tensor ds = at::_softmax_backward_data(dp, p, -1, p.scalar_type()).mul_(scale);
        dqs.narrow(1, block.begin, rows).copy_(at::bmm(ds, ks.narrow(1, 0, block.end)));
        dks.narrow(1, 0, block.end)
            .add_(at::bmm(ds.transpose(1, 2), qs.narrow(1, block.begin, rows)));
      }
    });
    return {dq, dk, dv, at::Tensor(), at::Tensor()};
  }
};

float dot(const float* a, const float* b, int64_t n) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

// Slots of the cache that hold positions 0..length-1, in order.
void find_slots(const int32_t* table, int64_t block_size, int64_t length,
                std::vector<int64_t>& slots) {
  slots.resize(length);
  for (int64_t p = 0; p < length; ++p)
    slots[p] = table[p / block_size] * block_size + p % block_size;
}

// scores becomes the softmax of scale * <query, cache[slot]>.
void attention_weights(const float* query, const float* cache, const std::vector<int64_t>& slots,
                       int64_t width, float scale, std::vector<float>& scores) {
  scores.resize(slots.size());
  float peak = -std::numeric_limits<float>::infinity();
  for (size_t p = 0; p < slots.size(); ++p) {
    scores[p] = scale * dot(query, cache + slots[p] * width, width);
    peak = std::max(peak, scores[p]);
  }
  float total = 0;
  for (float& score : scores) {
    score = std::exp(score - peak);
    total += score;
  }
  for (float& score : scores) score /= total;
}

}  // namespace

at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const std::vector<int32_t>& cu_seqlens, double scale) {
  PONDER_CHECK(!cu_seqlens.empty() && cu_seqlens.back() == q.size(0),
               "[packed_attention] cu_seqlens ends at {}, but there are {} tokens",
               cu_seqlens.empty() ? 0 : cu_seqlens.back(), q.size(0));
  return PackedAttention::apply(q, k, v, std::vector<int64_t>(cu_seqlens.begin(), cu_seqlens.end()),
                                scale);
}

at::Tensor latent_attention(const at::Tensor& queries, const at::Tensor& cache,
                            const PagedContext& context, int64_t value_dim, double scale) {
  const int64_t count = queries.size(0), heads = queries.size(1), width = queries.size(2);
  PONDER_CHECK(cache.size(1) == width, "[latent_attention] queries of width {}, cache of width {}",
               width, cache.size(1));
  const at::Tensor q = queries.contiguous();
  at::Tensor out = at::zeros({count, heads, value_dim}, q.options());
  const float *q_data = q.const_data_ptr<float>(), *cache_data = cache.const_data_ptr<float>();
  const int32_t *rows = context.rows.const_data_ptr<int32_t>(),
                *lengths = context.lengths.const_data_ptr<int32_t>();
  const int32_t* table = context.block_table.const_data_ptr<int32_t>();
  const int64_t table_width = context.block_table.size(1);
  float* out_data = out.data_ptr<float>();
  at::parallel_for(0, count, 4, [&](int64_t begin, int64_t end) {
    std::vector<int64_t> slots;
    std::vector<float> weights;
    for (int64_t i = begin; i < end; ++i) {
      find_slots(table + rows[i] * table_width, context.block_size, lengths[i], slots);
      for (int64_t h = 0; h < heads; ++h) {
        attention_weights(q_data + (i * heads + h) * width, cache_data, slots, width,
                          static_cast<float>(scale), weights);
        float* sum = out_data + (i * heads + h) * value_dim;
        for (size_t p = 0; p < slots.size(); ++p) {
          const float weight = weights[p];
          const float* latent = cache_data + slots[p] * width;
#pragma omp simd
          for (int64_t d = 0; d < value_dim; ++d) sum[d] += weight * latent[d];
        }
      }
    }
  });
  return out;
}

}  // namespace ponder::policy

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

struct Mask {
  double scale;
  int64_t window;  // 0: no limit
};

// One block of query rows [begin, end) of a sequence against its keys [first, end).
struct Block {
  int64_t begin, end;
  int64_t first;
  int64_t rows() const { return end - begin; }
  int64_t keys() const { return end - first; }
};

std::vector<Block> query_blocks(int64_t length, int64_t window) {
  std::vector<Block> blocks;
  for (int64_t begin = 0; begin < length; begin += kQueryRows) {
    const int64_t first = window > 0 ? std::max<int64_t>(0, begin - window + 1) : 0;
    blocks.push_back({begin, std::min(begin + kQueryRows, length), first});
  }
  return blocks;
}

// One sequence of a packed tensor as [heads, length, dim].
at::Tensor sequence(const at::Tensor& packed, int64_t begin, int64_t end) {
  return packed.narrow(0, begin, end - begin).transpose(0, 1);
}

// The block's rows of x [heads, length, dim] as [kv_heads, heads / kv_heads * rows, dim]: the heads
// that share keys lie end to end.
at::Tensor folded_rows(const at::Tensor& x, const Block& block, int64_t kv_heads) {
  return x.narrow(1, block.begin, block.rows()).reshape({kv_heads, -1, x.size(2)});
}

at::Tensor unfolded(const at::Tensor& x, int64_t heads) {
  return x.view({heads, -1, x.size(2)});
}

at::Tensor block_keys(const at::Tensor& x, const Block& block) {
  return x.narrow(1, block.first, block.keys());
}

// True where a row must not see a key, [rows, keys].
at::Tensor hidden_keys(const Block& block, int64_t window) {
  const at::Tensor ones = at::ones({block.rows(), block.keys()}, at::kBool);
  const int64_t diagonal = block.begin - block.first;
  const at::Tensor future = ones.triu(diagonal + 1);
  return window > 0 ? future.logical_or_(ones.tril(diagonal - window)) : future;
}

// softmax(scale * q k^T) under the mask, [kv_heads, heads / kv_heads * rows, keys]. q is folded.
at::Tensor probabilities(const at::Tensor& q, const at::Tensor& k, const Block& block,
                         const Mask& mask) {
  at::Tensor scores = at::bmm(q, block_keys(k, block).transpose(1, 2)).mul_(mask.scale);
  scores.view({-1, block.rows(), block.keys()})
      .masked_fill_(hidden_keys(block, mask.window), -std::numeric_limits<double>::infinity());
  return at::softmax(scores, -1,
                     scores.scalar_type() == at::kBFloat16 ? at::kFloat : scores.scalar_type())
      .to(q.scalar_type());
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

// dV = P^T dO, dS = P (dP - rowsum(dP P)) with dP = dO V^T, dQ = scale dS K, dK = scale dS^T Q;
// heads that share keys add up in dK and dV. All [heads or kv_heads, length, dim].
struct SequenceGradients {
  at::Tensor dq, dk, dv;

  void add(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& g,
           const Block& block, const Mask& mask) const {
    const int64_t kv_heads = k.size(0);
    const at::Tensor rows = folded_rows(q, block, kv_heads), go = folded_rows(g, block, kv_heads);
    const at::Tensor p = probabilities(rows, k, block, mask);
    block_keys(dv, block).add_(at::bmm(p.transpose(1, 2), go));
    const at::Tensor dp = at::bmm(go, block_keys(v, block).transpose(1, 2));
    const at::Tensor ds = at::_softmax_backward_data(dp, p, -1, p.scalar_type()).mul_(mask.scale);
    dq.narrow(1, block.begin, block.rows())
        .copy_(unfolded(at::bmm(ds, block_keys(k, block)), q.size(0)));
    block_keys(dk, block).add_(at::bmm(ds.transpose(1, 2), rows));
  }
};

struct PackedAttention : Function<PackedAttention> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, const std::vector<int64_t>& cu_seqlens,
                            double scale, int64_t window) {
    const Mask mask{scale, window};
    const int64_t heads = q.size(1), kv_heads = k.size(1);
    at::Tensor out = at::empty({q.size(0), heads, v.size(2)}, q.options());
    for_each_sequence(cu_seqlens, [&](int64_t begin, int64_t end) {
      const at::Tensor qs = sequence(q, begin, end), ks = sequence(k, begin, end),
                       vs = sequence(v, begin, end);
      at::Tensor os = sequence(out, begin, end);
      for (const Block& block : query_blocks(end - begin, window)) {
        const at::Tensor p = probabilities(folded_rows(qs, block, kv_heads), ks, block, mask);
        os.narrow(1, block.begin, block.rows())
            .copy_(unfolded(at::bmm(p, block_keys(vs, block)), heads));
      }
    });
    ctx->save_for_backward({q, k, v});
    ctx->saved_data["cu_seqlens"] = cu_seqlens;
    ctx->saved_data["scale"] = scale;
    ctx->saved_data["window"] = window;
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2];
    const Mask mask{ctx->saved_data["scale"].toDouble(), ctx->saved_data["window"].toInt()};
    at::Tensor dq = at::zeros_like(q), dk = at::zeros_like(k), dv = at::zeros_like(v);
    for_each_sequence(ctx->saved_data["cu_seqlens"].toIntVector(), [&](int64_t begin, int64_t end) {
      const SequenceGradients gradients{sequence(dq, begin, end), sequence(dk, begin, end),
                                        sequence(dv, begin, end)};
      const at::Tensor qs = sequence(q, begin, end), ks = sequence(k, begin, end),
                       vs = sequence(v, begin, end), gs = sequence(grads[0], begin, end);
      for (const Block& block : query_blocks(end - begin, mask.window))
        gradients.add(qs, ks, vs, gs, block, mask);
    });
    return {dq, dk, dv, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const std::vector<int32_t>& cu_seqlens, double scale, int64_t window) {
  PONDER_CHECK(!cu_seqlens.empty() && cu_seqlens.back() == q.size(0),
               "[packed_attention] cu_seqlens ends at {}, but there are {} tokens",
               cu_seqlens.empty() ? 0 : cu_seqlens.back(), q.size(0));
  PONDER_CHECK(k.size(1) > 0 && q.size(1) % k.size(1) == 0,
               "[packed_attention] {} heads of queries, {} of keys", q.size(1), k.size(1));
  return PackedAttention::apply(q, k, v, std::vector<int64_t>(cu_seqlens.begin(), cu_seqlens.end()),
                                scale, window);
}

}  // namespace ponder::policy

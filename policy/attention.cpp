#include "policy/attention.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <numeric>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include "core/error.h"
#include "policy/attention_tiles.h"
#include "policy/block_gemm.h"
#include "policy/device/ops.h"

namespace ponder::policy {
namespace {

using simd::Accumulator;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// The segments as trees, and what of them one task needs.
struct Forest {
  std::vector<int64_t> borders;                // [segments + 1]
  std::vector<std::vector<int64_t>> children;  // of each segment, ascending
  std::vector<int64_t> roots;                  // those with most work first
  int64_t longest = 0;                         // tokens from a root to a leaf

  int64_t length(int64_t segment) const { return borders[segment + 1] - borders[segment]; }
};

Forest make_forest(at::IntArrayRef borders, at::IntArrayRef parents) {
  const int64_t segments = static_cast<int64_t>(borders.size()) - 1;
  Forest forest{.borders = borders.vec(), .children = {}, .roots = {}};
  forest.children.resize(segments);
  std::vector<int64_t> root_of(segments), end(segments), work(segments, 0);
  for (int64_t s = 0; s < segments; ++s) {
    const int64_t parent = parents.empty() ? -1 : parents[s], length = forest.length(s);
    root_of[s] = parent < 0 ? s : root_of[parent];
    end[s] = length + (parent < 0 ? 0 : end[parent]);
    work[root_of[s]] += length * (2 * end[s] - length);
    forest.longest = std::max(forest.longest, end[s]);
    if (parent < 0)
      forest.roots.push_back(s);
    else
      forest.children[parent].push_back(s);
  }
  std::stable_sort(forest.roots.begin(), forest.roots.end(),
                   [&](int64_t a, int64_t b) { return work[a] > work[b]; });
  return forest;
}

// Calls body(root, head) for every tree and key head on all threads, whoever is free takes the
// next. make_body() gives each thread its own body (its scratch memory).
template <typename MakeBody>
void for_each_task(const Forest& forest, int64_t kv_heads, const MakeBody& make_body) {
  const int64_t tasks = static_cast<int64_t>(forest.roots.size()) * kv_heads;
  std::atomic<int64_t> next = 0;
  at::parallel_for(0, std::min<int64_t>(at::get_num_threads(), tasks), 1, [&](int64_t, int64_t) {
    auto body = make_body();
    for (int64_t task = next++; task < tasks; task = next++)
      body(forest.roots[task / kv_heads], task % kv_heads);
  });
}

struct Scores {
  double scale;
  int64_t window;
};

// The first tile of which a query at `position` sees something.
int64_t first_tile(int64_t position, int64_t window) {
  return std::max<int64_t>(0, position + 1 - window) / kTile;
}

template <typename T>
Heads<T> heads_of(const at::Tensor& x) {
  return {x.data_ptr<T>(), x.stride(0), x.stride(1), x.size(2)};
}

// Walks one tree with one key head's keys and values in scratch memory, by position: a segment's
// stand behind its ancestors', and its siblings take the same places one after another.
template <typename T>
class ForwardWalk {
  using A = Accumulator<T>;

 public:
  ForwardWalk(const Forest& forest, Heads<T> q, Heads<T> k, Heads<T> v, Heads<T> out, A* lse,
              int64_t heads, int64_t group, const Scores& scores)
      : forest_(forest),
        q_(q),
        k_(k),
        v_(v),
        out_(out),
        lse_(lse),
        heads_(heads),
        group_(group),
        scale_(static_cast<A>(scores.scale)),
        window_(scores.window),
        keys_(forest.longest, k.dim),
        values_(forest.longest, v.dim),
        rows_(kQueryTokens * group) {
    queries_.resize(rows_ * q.dim);
    scores_.resize(rows_ * kTile);
    sums_.resize(rows_ * v.dim);
    peak_.resize(rows_);
    total_.resize(rows_);
  }

  void operator()(int64_t root, int64_t kv_head) { walk(root, kv_head, 0); }

 private:
  void walk(int64_t segment, int64_t kv_head, int64_t prefix) {
    const int64_t begin = forest_.borders[segment], length = forest_.length(segment);
    for (int64_t t = 0; t < length; ++t) {
      keys_.put_column(prefix + t, k_.row(begin + t, kv_head));
      values_.put_row(prefix + t, v_.row(begin + t, kv_head));
    }
    for (int64_t t = 0; t < length; t += kQueryTokens)
      block(begin + t, std::min(kQueryTokens, length - t), prefix + t, kv_head);
    for (const int64_t child : forest_.children[segment]) walk(child, kv_head, prefix + length);
  }

  // Queries of tokens first .. first + count, which stand at `position` ...
  void block(int64_t first, int64_t count, int64_t position, int64_t kv_head) {
    const int64_t used = count * group_, rows = padded_rows(count) * group_;
    gather_rows_scaled(q_, first, count, kv_head * group_, group_, scale_, queries_.data());
    std::fill(queries_.begin() + used * q_.dim, queries_.begin() + rows * q_.dim, A(0));
    std::fill(peak_.begin(), peak_.begin() + rows, -std::numeric_limits<A>::infinity());
    std::fill(total_.begin(), total_.begin() + rows, A(0));
    std::fill(sums_.begin(), sums_.begin() + rows * v_.dim, A(0));
    for (int64_t tile = first_tile(position, window_); tile * kTile < position + count; ++tile) {
      const TileMask mask = {position + 1 - tile * kTile, group_, window_};
      block_gemm(rows, kTile, q_.dim, queries_.data(), q_.dim, keys_.columns(tile), kTile,
                 scores_.data(), kTile, false);
      online_softmax(scores_.data(), used, mask, peak_.data(), total_.data(), sums_.data(), v_.dim);
      std::fill(scores_.begin() + used * kTile, scores_.begin() + rows * kTile, A(0));
      block_gemm(rows, v_.dim, kTile, scores_.data(), kTile, values_.rows(tile), v_.dim,
                 sums_.data(), v_.dim, true);
    }
    for (int64_t r = 0; r < used; ++r) {
      const int64_t token = first + r / group_, head = kv_head * group_ + r % group_;
      scatter_row(sums_.data() + r * v_.dim, A(1) / total_[r], out_.row(token, head), v_.dim);
      lse_[token * heads_ + head] = peak_[r] + std::log(total_[r]);
    }
  }

  const Forest& forest_;
  Heads<T> q_, k_, v_, out_;
  A* lse_;
  int64_t heads_, group_;
  A scale_;
  int64_t window_;
  Tiles<A> keys_, values_;
  int64_t rows_;
  std::vector<A> queries_, scores_, sums_, peak_, total_;
};

// The same walk with the gradients: dV = P^T dO, dS = P (dO V^T - rowsum(dO O)), dQ = scale dS K,
// dK = scale dS^T Q, with P made again from the saved log-sum-exp.
template <typename T>
class BackwardWalk {
  using A = Accumulator<T>;

 public:
  struct Tensors {
    Heads<T> q, k, v, out, grad, dq, dk, dv;
    const A* lse;
    int64_t heads, group;
  };

  BackwardWalk(const Forest& forest, const Tensors& x, const Scores& scores)
      : forest_(forest),
        x_(x),
        scale_(static_cast<A>(scores.scale)),
        window_(scores.window),
        keys_(forest.longest, x.k.dim),
        values_(forest.longest, x.v.dim),
        dkeys_(forest.longest, x.k.dim),
        dvalues_(forest.longest, x.v.dim) {
    const int64_t rows = kQueryTokens * x.group;
    queries_.resize(rows * x.q.dim);
    queries_t_.resize(rows * x.q.dim);
    grads_.resize(rows * x.v.dim);
    grads_t_.resize(rows * x.v.dim);
    dqueries_.resize(rows * x.q.dim);
    p_.resize(rows * kTile);
    ds_.resize(rows * kTile);
    row_lse_.resize(rows);
    row_dot_.resize(rows);
  }

  void operator()(int64_t root, int64_t kv_head) { walk(root, kv_head, 0); }

 private:
  void walk(int64_t segment, int64_t kv_head, int64_t prefix) {
    const int64_t begin = forest_.borders[segment], length = forest_.length(segment);
    for (int64_t t = 0; t < length; ++t) {
      const int64_t position = prefix + t;
      keys_.put_column(position, x_.k.row(begin + t, kv_head));
      keys_.put_row(position, x_.k.row(begin + t, kv_head));
      values_.put_column(position, x_.v.row(begin + t, kv_head));
      dkeys_.clear_column(position);
      dvalues_.clear_column(position);
    }
    for (int64_t t = 0; t < length; t += kQueryTokens)
      block(begin + t, std::min(kQueryTokens, length - t), prefix + t, kv_head);
    for (const int64_t child : forest_.children[segment]) walk(child, kv_head, prefix + length);
    for (int64_t t = 0; t < length; ++t) {
      dkeys_.take_column(prefix + t, x_.dk.row(begin + t, kv_head));
      dvalues_.take_column(prefix + t, x_.dv.row(begin + t, kv_head));
    }
  }

  void load_block(int64_t first, int64_t count, int64_t rows, int64_t kv_head) {
    const int64_t used = count * x_.group, head = kv_head * x_.group;
    gather_rows_scaled(x_.q, first, count, head, x_.group, scale_, queries_.data());
    gather_rows_scaled(x_.grad, first, count, head, x_.group, A(1), grads_.data());
    std::fill(queries_.begin() + used * x_.q.dim, queries_.begin() + rows * x_.q.dim, A(0));
    std::fill(grads_.begin() + used * x_.v.dim, grads_.begin() + rows * x_.v.dim, A(0));
    std::fill(dqueries_.begin(), dqueries_.begin() + rows * x_.q.dim, A(0));
    transpose(queries_.data(), rows, x_.q.dim, queries_t_.data());
    transpose(grads_.data(), rows, x_.v.dim, grads_t_.data());
    for (int64_t r = 0; r < used; ++r) {
      const int64_t token = first + r / x_.group, h = head + r % x_.group;
      row_lse_[r] = x_.lse[token * x_.heads + h];
      row_dot_[r] = row_dot(grads_.data() + r * x_.v.dim, x_.out.row(token, h), x_.v.dim);
    }
  }

  void block(int64_t first, int64_t count, int64_t position, int64_t kv_head) {
    const int64_t used = count * x_.group, rows = padded_rows(count) * x_.group;
    const int64_t qk_dim = x_.q.dim, v_dim = x_.v.dim;
    load_block(first, count, rows, kv_head);
    for (int64_t tile = first_tile(position, window_); tile * kTile < position + count; ++tile) {
      const TileMask mask = {position + 1 - tile * kTile, x_.group, window_};
      block_gemm(rows, kTile, qk_dim, queries_.data(), qk_dim, keys_.columns(tile), kTile,
                 p_.data(), kTile, false);
      block_gemm(rows, kTile, v_dim, grads_.data(), v_dim, values_.columns(tile), kTile, ds_.data(),
                 kTile, false);
      softmax_gradient(p_.data(), ds_.data(), used, mask, row_lse_.data(), row_dot_.data());
      std::fill(p_.begin() + used * kTile, p_.begin() + rows * kTile, A(0));
      std::fill(ds_.begin() + used * kTile, ds_.begin() + rows * kTile, A(0));
      block_gemm(rows, qk_dim, kTile, ds_.data(), kTile, keys_.rows(tile), qk_dim, dqueries_.data(),
                 qk_dim, true);
      block_gemm(qk_dim, kTile, rows, queries_t_.data(), rows, ds_.data(), kTile,
                 dkeys_.columns(tile), kTile, true);
      block_gemm(v_dim, kTile, rows, grads_t_.data(), rows, p_.data(), kTile,
                 dvalues_.columns(tile), kTile, true);
    }
    for (int64_t r = 0; r < used; ++r) {
      scatter_row(dqueries_.data() + r * qk_dim, scale_,
                  x_.dq.row(first + r / x_.group, kv_head * x_.group + r % x_.group), qk_dim);
    }
  }

  const Forest& forest_;
  Tensors x_;
  A scale_;
  int64_t window_;
  Tiles<A> keys_, values_, dkeys_, dvalues_;
  std::vector<A> queries_, queries_t_, grads_, grads_t_, dqueries_, p_, ds_, row_lse_, row_dot_;
};

struct PackedAttention : Function<PackedAttention> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, const std::vector<int64_t>& borders,
                            const std::vector<int64_t>& parents, double scale, int64_t window) {
    const int64_t heads = q.size(1), kv_heads = k.size(1);
    const Forest forest = make_forest(borders, parents);
    at::Tensor out = at::empty({q.size(0), heads, v.size(2)}, q.options());
    at::Tensor lse =
        at::empty({q.size(0), heads},
                  q.options().dtype(q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat));
    AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, q.scalar_type(), "packed_attention", [&] {
      for_each_task(forest, kv_heads, [&] {
        return ForwardWalk<scalar_t>(forest, heads_of<scalar_t>(q), heads_of<scalar_t>(k),
                                     heads_of<scalar_t>(v), heads_of<scalar_t>(out),
                                     lse.data_ptr<Accumulator<scalar_t>>(), heads, heads / kv_heads,
                                     Scores{scale, window});
      });
    });
    ctx->save_for_backward({q, k, v, out, lse});
    ctx->saved_data["borders"] = borders;
    ctx->saved_data["parents"] = parents;
    ctx->saved_data["scale"] = scale;
    ctx->saved_data["window"] = window;
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3], &lse = saved[4];
    const at::Tensor grad = grads[0].contiguous();
    const std::vector<int64_t> borders = ctx->saved_data["borders"].toIntVector(),
                               parents = ctx->saved_data["parents"].toIntVector();
    const Forest forest = make_forest(borders, parents);
    const auto fresh = [](const at::Tensor& x) { return at::empty(x.sizes(), x.options()); };
    at::Tensor dq = fresh(q), dk = fresh(k), dv = fresh(v);
    AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, q.scalar_type(), "packed_attention", [&] {
      using Walk = BackwardWalk<scalar_t>;
      const typename Walk::Tensors tensors = {heads_of<scalar_t>(q),
                                              heads_of<scalar_t>(k),
                                              heads_of<scalar_t>(v),
                                              heads_of<scalar_t>(out),
                                              heads_of<scalar_t>(grad),
                                              heads_of<scalar_t>(dq),
                                              heads_of<scalar_t>(dk),
                                              heads_of<scalar_t>(dv),
                                              lse.data_ptr<Accumulator<scalar_t>>(),
                                              q.size(1),
                                              q.size(1) / k.size(1)};
      const Scores scores = {ctx->saved_data["scale"].toDouble(),
                             ctx->saved_data["window"].toInt()};
      for_each_task(forest, k.size(1), [&] { return Walk(forest, tensors, scores); });
    });
    return {dq, dk, dv, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

at::Tensor with_dense_rows(const at::Tensor& x) {
  return x.stride(2) == 1 || x.size(2) == 1 ? x : x.contiguous();
}

void check_segments(int64_t tokens, const Segments& segments) {
  const auto& [cu_seqlens, parents] = segments;
  PONDER_CHECK(!cu_seqlens.empty() && cu_seqlens.front() == 0 && cu_seqlens.back() == tokens,
               "[packed_attention] cu_seqlens ends at {}, but there are {} tokens",
               cu_seqlens.empty() ? 0 : cu_seqlens.back(), tokens);
  PONDER_CHECK(std::is_sorted(cu_seqlens.begin(), cu_seqlens.end()),
               "[packed_attention] cu_seqlens of {} segments is not ascending",
               cu_seqlens.size() - 1);
  PONDER_CHECK(parents.empty() || parents.size() + 1 == cu_seqlens.size(),
               "[packed_attention] {} parents for {} segments", parents.size(),
               cu_seqlens.size() - 1);
  for (size_t s = 0; s < parents.size(); ++s) {
    PONDER_CHECK(parents[s] < static_cast<int32_t>(s),
                 "[packed_attention] segment {} stands before its parent {}", s, parents[s]);
  }
}

}  // namespace

at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const Segments& segments, double scale, int64_t window) {
  check_segments(q.size(0), segments);
  const auto& [cu_seqlens, parents] = segments;
  PONDER_CHECK(q.size(1) % k.size(1) == 0 && k.size(1) == v.size(1) && q.size(2) == k.size(2),
               "[packed_attention] heads and widths do not fit: q {}x{}, k {}x{}, v {}x{}",
               q.size(1), q.size(2), k.size(1), k.size(2), v.size(1), v.size(2));
  if (!q.is_cpu()) return device::packed_attention(q, k, v, segments, scale, window);
  return PackedAttention::apply(with_dense_rows(q), with_dense_rows(k), with_dense_rows(v),
                                std::vector<int64_t>(cu_seqlens.begin(), cu_seqlens.end()),
                                std::vector<int64_t>(parents.begin(), parents.end()), scale,
                                window > 0 ? window : std::numeric_limits<int32_t>::max());
}

}  // namespace ponder::policy

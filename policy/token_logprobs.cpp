#include <algorithm>
#include <limits>
#include <span>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include "core/error.h"
#include "policy/device/ops.h"
#include "policy/ops.h"
#include "policy/product.h"
#include "policy/row_kernels.h"

namespace ponder::policy {
namespace {

using simd::Accumulator;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// Logits that exist at a time: this many columns of the vocabulary of this many tokens, 16 MB of
// float32. Fixed, so that a token's result does not depend on its batch.
constexpr int64_t kColumns = 2048;
constexpr int64_t kRows = 2048;
constexpr int64_t kGrainRows = 16;

// Calls body(begin, count) for consecutive blocks of `total`.
template <typename Body>
void for_each_block(int64_t total, int64_t size, const Body& body) {
  for (int64_t begin = 0; begin < total; begin += size) body(begin, std::min(size, total - begin));
}

// KeptTokens as plain pointers: which columns of a block count in a row.
class KeptColumns {
 public:
  KeptColumns(const at::Tensor& ids, const at::Tensor& offsets) {
    if (offsets.numel() == 0) return;
    ids_ = ids.const_data_ptr<int32_t>();
    offsets_ = offsets.const_data_ptr<int64_t>();
  }
  // Whether the row has a set; else all columns count.
  bool limits(int64_t row) const { return offsets_ && offsets_[row] < offsets_[row + 1]; }
  std::span<const int32_t> of(int64_t row, int64_t column, int64_t columns) const {
    const int32_t* end = ids_ + offsets_[row + 1];
    const int32_t* first = std::lower_bound(ids_ + offsets_[row], end, column);
    return {first, std::lower_bound(first, end, column + columns)};
  }

 private:
  const int32_t* ids_ = nullptr;
  const int64_t* offsets_ = nullptr;
};

// The kept values of a row of logits, side by side.
template <typename T>
const T* gather(const T* row, std::span<const int32_t> kept, int64_t column,
                std::vector<T>& values) {
  values.clear();
  for (const int32_t id : kept) values.push_back(row[id - column]);
  return values.data();
}

struct ChunkedLogprobs : Function<ChunkedLogprobs> {
  // Vocabulary blocks outside, rows inside: the output weight is read once. A row's sums go from
  // block to block as in an online softmax.
  template <typename T>
  static void forward_as(const at::Tensor& hidden, const at::Tensor& weight,
                         const at::Tensor& targets, double temperature, const KeptColumns& kept,
                         const at::Tensor& logprobs, const at::Tensor& entropies,
                         const at::Tensor& lses) {
    using A = Accumulator<T>;
    const int64_t tokens = hidden.size(0);
    const A factor = static_cast<A>(1.0 / temperature);
    std::vector<kernels::LogitsState<A>> states(tokens,
                                                {-std::numeric_limits<A>::infinity(), A(0), A(0)});
    A* target_logit = logprobs.data_ptr<A>();
    const int64_t* target = targets.const_data_ptr<int64_t>();
    for_each_block(weight.size(0), kColumns, [&](int64_t column, int64_t columns) {
      for_each_block(tokens, kRows, [&](int64_t row, int64_t rows) {
        const at::Tensor logits =
            product(hidden.narrow(0, row, rows), weight.narrow(0, column, columns).t());
        const T* data = logits.const_data_ptr<T>();
        at::parallel_for(0, rows, kGrainRows, [&](int64_t begin, int64_t end) {
          std::vector<T> values;
          for (int64_t r = begin; r < end; ++r) {
            if (kept.limits(row + r)) {
              const auto ids = kept.of(row + r, column, columns);
              const T* those = gather(data + r * columns, ids, column, values);
              if (!ids.empty())
                kernels::add_logits(those, std::ssize(ids), factor, states[row + r]);
            } else {
              kernels::add_logits(data + r * columns, columns, factor, states[row + r]);
            }
            const int64_t t = target[row + r] - column;
            if (t >= 0 && t < columns)
              target_logit[row + r] = simd::load(data[r * columns + t]) * factor;
          }
        });
      });
    });
    A *entropy = entropies.data_ptr<A>(), *lse = lses.data_ptr<A>();
    for (int64_t t = 0; t < tokens; ++t) {
      const kernels::LogitsState<A>& s = states[t];
      lse[t] = s.peak + std::log(s.total);
      entropy[t] = std::log(s.total) - s.weighted / s.total;
      target_logit[t] -= lse[t];
    }
  }

  static variable_list forward(AutogradContext* ctx, const at::Tensor& hidden,
                               const at::Tensor& weight, const at::Tensor& targets,
                               double temperature, const at::Tensor& kept_ids,
                               const at::Tensor& kept_offsets) {
    const auto options =
        hidden.options().dtype(hidden.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
    const int64_t tokens = hidden.size(0);
    at::Tensor logprobs = at::empty({tokens}, options), entropies = at::empty({tokens}, options),
               lses = at::empty({tokens}, options);
    AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, hidden.scalar_type(), "token_logprobs", [&] {
      forward_as<scalar_t>(hidden, weight, targets, temperature, {kept_ids, kept_offsets}, logprobs,
                           entropies, lses);
    });
    ctx->save_for_backward({hidden, weight, targets, entropies, lses, kept_ids, kept_offsets});
    ctx->saved_data["temperature"] = temperature;
    return {logprobs, entropies};
  }

  // The logits of one block become their gradients, in place.
  template <typename T>
  static void gradients_as(const at::Tensor& logits, int64_t row, int64_t column,
                           double temperature, const variable_list& saved,
                           const variable_list& grads) {
    using A = Accumulator<T>;
    const A factor = static_cast<A>(1.0 / temperature);
    const int64_t rows = logits.size(0), columns = logits.size(1);
    const int64_t* target = saved[2].const_data_ptr<int64_t>() + row;
    const A *entropy = saved[3].const_data_ptr<A>() + row,
            *lse = saved[4].const_data_ptr<A>() + row;
    const A *g_logprob = grads[0].const_data_ptr<A>() + row,
            *g_entropy = grads[1].const_data_ptr<A>() + row;
    const KeptColumns kept(saved[5], saved[6]);
    T* data = logits.data_ptr<T>();
    at::parallel_for(0, rows, kGrainRows, [&](int64_t begin, int64_t end) {
      std::vector<T> values;
      for (int64_t r = begin; r < end; ++r) {
        const kernels::LogitsGradient<A> gradient{lse[r], entropy[r], g_logprob[r], g_entropy[r]};
        T* own = data + r * columns;
        if (!kept.limits(row + r)) {
          kernels::logits_backward(own, columns, factor, target[r] - column, gradient);
          continue;
        }
        const auto ids = kept.of(row + r, column, columns);
        gather(own, ids, column, values);
        const auto place = std::lower_bound(ids.begin(), ids.end(), target[r]);
        const bool here = place != ids.end() && *place == target[r];
        kernels::logits_backward(values.data(), std::ssize(ids), factor,
                                 here ? place - ids.begin() : -1, gradient);
        std::fill_n(own, columns, T(0));
        for (size_t i = 0; i < ids.size(); ++i) own[ids[i] - column] = values[i];
      }
    });
  }

  // d logp_t / d logit_j = [j = t] - p_j and d entropy / d logit_j = -p_j (log p_j + entropy), both
  // over temperature.
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &hidden = saved[0], &weight = saved[1], &entropies = saved[3];
    const double temperature = ctx->saved_data["temperature"].toDouble();
    const int64_t tokens = hidden.size(0);
    for (at::Tensor& g : grads) g = g.defined() ? g.contiguous() : at::zeros_like(entropies);
    const bool train_weight = ctx->needs_input_grad(1);
    at::Tensor dhidden = at::zeros(hidden.sizes(), entropies.options());
    at::Tensor dweight = train_weight ? at::empty_like(weight) : at::Tensor();
    for_each_block(weight.size(0), kColumns, [&](int64_t column, int64_t columns) {
      const at::Tensor part = weight.narrow(0, column, columns);
      at::Tensor dpart;
      for_each_block(tokens, kRows, [&](int64_t row, int64_t rows) {
        const at::Tensor states = hidden.narrow(0, row, rows);
        const at::Tensor dlogits = product(states, part.t());
        AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, hidden.scalar_type(), "token_logprobs", [&] {
          gradients_as<scalar_t>(dlogits, row, column, temperature, saved, grads);
        });
        dhidden.narrow(0, row, rows).add_(product(dlogits, part));
        if (!train_weight) return;
        const at::Tensor sum = product(dlogits.t(), states);
        dpart =
            dpart.defined() ? dpart.add_(sum) : (tokens > kRows ? sum.to(entropies.dtype()) : sum);
      });
      if (train_weight) dweight.narrow(0, column, columns).copy_(dpart);
    });
    return {dhidden.to(hidden.scalar_type()), dweight, {}, {}, {}, {}};
  }
};

// [tokens + 1]: where each position's ids begin; empty where there are none. Checks that its target
// is among them.
at::Tensor offsets_of(const KeptTokens& kept, const at::Tensor& targets) {
  if (!kept.counts.defined()) return at::empty({0}, at::kLong);
  PONDER_CHECK(kept.counts.size(0) == targets.size(0),
               "[token_logprobs] kept sets of {} positions for {} targets", kept.counts.size(0),
               targets.size(0));
  const at::Tensor offsets = at::zeros({targets.size(0) + 1}, at::kLong);
  offsets.narrow(0, 1, targets.size(0)).copy_(kept.counts.cumsum(0));
  PONDER_CHECK(offsets[-1].item<int64_t>() == kept.ids.size(0),
               "[token_logprobs] {} kept ids, the counts say {}", kept.ids.size(0),
               offsets[-1].item<int64_t>());
  const KeptColumns columns(kept.ids, offsets);
  const int64_t* target = targets.const_data_ptr<int64_t>();
  for (int64_t t = 0; t < targets.size(0); ++t) {
    PONDER_CHECK(!columns.limits(t) || !columns.of(t, target[t], 1).empty(),
                 "[token_logprobs] target {} of position {} is not among its kept tokens",
                 target[t], t);
  }
  return offsets;
}

}  // namespace

TokenLogprobs token_logprobs(const at::Tensor& hidden, const at::Tensor& weight,
                             const at::Tensor& targets, double temperature,
                             const KeptTokens& kept) {
  PONDER_CHECK(hidden.size(0) == targets.size(0),
               "[token_logprobs] {} hidden states for {} targets", hidden.size(0), targets.size(0));
  PONDER_CHECK(temperature > 0, "[token_logprobs] temperature {} is not above 0", temperature);
  PONDER_CHECK(hidden.scalar_type() == weight.scalar_type(),
               "[token_logprobs] states and output weight are of two dtypes");
  if (!hidden.is_cpu()) return device::token_logprobs(hidden, weight, targets, temperature, kept);
  const at::Tensor wanted = targets.contiguous();
  const at::Tensor ids = kept.ids.defined() ? kept.ids : at::empty({0}, at::kInt);
  const variable_list out = ChunkedLogprobs::apply(hidden.contiguous(), weight, wanted, temperature,
                                                   ids, offsets_of(kept, wanted));
  return {out[0], out[1]};
}

}  // namespace ponder::policy

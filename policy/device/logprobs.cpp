// token_logprobs() on a device: the logits of a block of the vocabulary at a time, made again in
// backward, as policy/token_logprobs.cpp does on the CPU.
#include <algorithm>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "policy/device/kernels.h"
#include "policy/device/ops.h"

namespace ponder::policy::device {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// Logits that exist at a time, 128 MiB of float32. Fixed, so that a token's result does not depend
// on its batch.
constexpr int64_t kRows = 4096;
constexpr int64_t kColumns = 8192;

// The peak of a row before its first logit: finite, so that differences of peaks are numbers.
constexpr double kNoPeak = -1e30;

at::ScalarType wide_type(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

// KeptTokens on the device: ids [kept], the row of each, and which rows have a set at all. Empty
// where all tokens count everywhere.
struct Kept {
  at::Tensor ids, rows, limited;

  static Kept of(const KeptTokens& kept, at::Device device) {
    if (!kept.counts.defined()) {
      const at::Tensor none = at::empty({0}, at::TensorOptions(at::kLong).device(device));
      return {none, none, none};
    }
    const at::Tensor counts = moved(kept.counts, at::kCPU);
    const at::Tensor rows = at::arange(counts.size(0), at::kLong).repeat_interleave(counts);
    return {moved(kept.ids.to(at::kLong), device), moved(rows, device),
            moved(counts.gt(0), device)};
  }

  // -infinity in place of the logits [rows, columns] that do not count.
  at::Tensor limit(const at::Tensor& logits, int64_t row, int64_t column) const {
    if (limited.numel() == 0) return logits;
    const int64_t count = logits.size(0), columns = logits.size(1);
    const at::Tensor here =
        ids.ge(column) & ids.lt(column + columns) & rows.ge(row) & rows.lt(row + count);
    // What lies outside is written into a row and a column that are cut off.
    const at::Tensor to_row = at::where(here, rows - row, count),
                     to_column = at::where(here, ids - column, columns);
    at::Tensor open = at::zeros({count + 1, columns + 1}, logits.options().dtype(at::kBool));
    open.index_put_({to_row, to_column}, at::ones({}, open.options()));
    const at::Tensor closed = open.narrow(0, 0, count).narrow(1, 0, columns).logical_not() &
                              limited.narrow(0, row, count).unsqueeze(1);
    return logits.masked_fill(closed, -std::numeric_limits<float>::infinity());
  }
};

// A block's logits over the temperature.
at::Tensor block_logits(const at::Tensor& hidden, const at::Tensor& weight, double temperature,
                        const Kept& kept, int64_t row, int64_t column) {
  const at::Tensor logits = at::linear(hidden, weight).to(wide_type(hidden)) / temperature;
  return kept.limit(logits, row, column);
}

// Calls body(row, rows, column, columns) for every block.
template <typename Body>
void for_each_block(int64_t tokens, int64_t vocabulary, const Body& body) {
  for (int64_t row = 0; row < tokens; row += kRows) {
    for (int64_t column = 0; column < vocabulary; column += kColumns)
      body(row, std::min(kRows, tokens - row), column, std::min(kColumns, vocabulary - column));
  }
}

// Where each target lies in a block of columns, [rows, 1], and whether it does.
struct TargetColumn {
  at::Tensor place, inside;
};
TargetColumn target_column(const at::Tensor& targets, int64_t column, int64_t columns) {
  const at::Tensor place = (targets - column).unsqueeze(1);
  return {place.clamp(0, columns - 1), place.ge(0) & place.lt(columns)};
}

struct BlockLogprobs : Function<BlockLogprobs> {
  // An online softmax over the blocks (arXiv:1805.02867): peak, sum of e^(x - peak) and of
  // e^(x - peak) (x - peak) of each row.
  static variable_list forward(AutogradContext* ctx, const at::Tensor& hidden,
                               const at::Tensor& weight, const at::Tensor& targets,
                               double temperature, const at::Tensor& kept_ids,
                               const at::Tensor& kept_rows, const at::Tensor& kept_limited) {
    const Kept kept{kept_ids, kept_rows, kept_limited};
    const auto options = hidden.options().dtype(wide_type(hidden));
    const int64_t tokens = hidden.size(0), vocabulary = weight.size(0);
    const at::Tensor peak = at::full({tokens, 1}, kNoPeak, options),
                     total = at::zeros({tokens, 1}, options),
                     weighted = at::zeros({tokens, 1}, options),
                     chosen = at::zeros({tokens, 1}, options);
    for_each_block(tokens, vocabulary, [&](int64_t row, int64_t n, int64_t column, int64_t width) {
      const at::Tensor x = block_logits(hidden.narrow(0, row, n), weight.narrow(0, column, width),
                                        temperature, kept, row, column);
      at::Tensor own_peak = peak.narrow(0, row, n), own_total = total.narrow(0, row, n),
                 own_weighted = weighted.narrow(0, row, n), own_chosen = chosen.narrow(0, row, n);
      const at::Tensor raised = at::maximum(own_peak, x.amax(1, true));
      const at::Tensor below = own_peak - raised, factor = below.exp();
      const at::Tensor e = (x - raised).exp();
      own_weighted.copy_(factor * (own_weighted + own_total * below.clamp_min(-1e10)) +
                         at::xlogy(e, e).sum(1, true));
      own_total.copy_(factor * own_total + e.sum(1, true));
      own_peak.copy_(raised);
      const TargetColumn target = target_column(targets.narrow(0, row, n), column, width);
      own_chosen.copy_(at::where(target.inside, x.gather(1, target.place), own_chosen));
    });
    const at::Tensor lse = peak + total.log(), entropies = total.log() - weighted / total;
    ctx->save_for_backward(
        {hidden, weight, targets, lse, entropies, kept_ids, kept_rows, kept_limited});
    ctx->saved_data["temperature"] = temperature;
    return {(chosen - lse).squeeze(1), entropies.squeeze(1)};
  }

  // The gradient of a block's logits over the temperature: with p = e^(x - lse), -p (g_logprob +
  // g_entropy (x - lse + entropy)), and g_logprob more at the target.
  static at::Tensor logits_gradient(const at::Tensor& x, const at::Tensor& lse,
                                    const at::Tensor& entropy, const at::Tensor& g_logprob,
                                    const at::Tensor& g_entropy, const TargetColumn& target) {
    const at::Tensor log_p = (x - lse).clamp_min(kNoPeak), p = log_p.exp();
    at::Tensor d = (p * (g_logprob + g_entropy * (log_p + entropy))).neg_();
    return d.scatter_add_(1, target.place,
                          at::where(target.inside, g_logprob, at::zeros_like(g_logprob)));
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &hidden = saved[0], &weight = saved[1], &targets = saved[2], &lse = saved[3],
                     &entropies = saved[4];
    const Kept kept{saved[5], saved[6], saved[7]};
    const double temperature = ctx->saved_data["temperature"].toDouble();
    for (at::Tensor& g : grads) g = g.defined() ? g.unsqueeze(1) : at::zeros_like(entropies);
    const at::Tensor dhidden = at::zeros(hidden.sizes(), entropies.options());
    const bool train_weight = ctx->needs_input_grad(1);
    const at::Tensor dweight =
        train_weight ? at::zeros(weight.sizes(), entropies.options()) : at::Tensor();
    for_each_block(hidden.size(0), weight.size(0),
                   [&](int64_t row, int64_t n, int64_t column, int64_t width) {
                     const auto own = [&](const at::Tensor& t) { return t.narrow(0, row, n); };
                     const at::Tensor rows = own(hidden), block = weight.narrow(0, column, width);
                     const at::Tensor x = block_logits(rows, block, temperature, kept, row, column);
                     const at::Tensor d =
                         (logits_gradient(x, own(lse), own(entropies), own(grads[0]), own(grads[1]),
                                          target_column(own(targets), column, width)) /
                          temperature)
                             .to(hidden.scalar_type());
                     own(dhidden).add_(at::mm(d, block));
                     if (train_weight) dweight.narrow(0, column, width).add_(at::mm(d.t(), rows));
                   });
    const at::Tensor none;
    return {dhidden.to(hidden.scalar_type()),
            train_weight ? dweight.to(weight.scalar_type()) : none,
            none,
            none,
            none,
            none,
            none};
  }
};

// By the plugin's kernel, where nothing is to be differentiated.
TokenLogprobs by_kernel(const CudaPlugin& kernels, const at::Tensor& hidden,
                        const at::Tensor& weight, const at::Tensor& targets, double temperature) {
  const auto options = hidden.options().dtype(at::kFloat);
  const int64_t tokens = hidden.size(0);
  LogprobJob job{.hidden = hidden.const_data_ptr(),
                 .weight = weight.const_data_ptr(),
                 .targets = targets.const_data_ptr<int64_t>(),
                 .tokens = tokens,
                 .width = hidden.size(1),
                 .vocabulary = weight.size(0),
                 .temperature = static_cast<float>(temperature),
                 .bfloat16 = hidden.scalar_type() == at::kBFloat16};
  const at::Tensor logprobs = at::empty({tokens}, options),
                   entropies = at::empty({tokens}, options),
                   logits = at::empty({tokens, job.columns}, options),
                   folds = at::empty({tokens, 3}, options);
  job.logprobs = logprobs.data_ptr<float>();
  job.entropies = entropies.data_ptr<float>();
  job.logits = logits.data_ptr<float>();
  job.folds = reinterpret_cast<LogitFold*>(folds.data_ptr<float>());
  check_launch(kernels.token_logprobs(job, kernels.cublas(), kernels.current_stream()),
               "token_logprobs");
  return {logprobs, entropies};
}

}  // namespace

TokenLogprobs token_logprobs(const at::Tensor& hidden, const at::Tensor& weight,
                             const at::Tensor& targets, double temperature,
                             const KeptTokens& kept) {
  const at::Device home = targets.device();
  const at::Tensor wanted = moved(targets.contiguous(), hidden.device());
  const CudaPlugin* kernels = kernels_for(hidden);
  const bool plain = !at::GradMode::is_enabled() && !kept.counts.defined() &&
                     hidden.scalar_type() != at::kDouble && weight.is_contiguous();
  if (kernels != nullptr && plain) {
    const TokenLogprobs out = by_kernel(*kernels, hidden.contiguous(), weight, wanted, temperature);
    return {out.logprobs.to(home), out.entropies.to(home)};
  }
  const Kept limits = Kept::of(kept, hidden.device());
  const variable_list out = BlockLogprobs::apply(hidden, weight, wanted, temperature, limits.ids,
                                                 limits.rows, limits.limited);
  return {out[0].to(home), out[1].to(home)};
}

}  // namespace ponder::policy::device

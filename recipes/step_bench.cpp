#include "recipes/step_bench.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "core/memory.h"
#include "core/timer.h"
#include "distributed/sharding.h"
#include "policy/model.h"
#include "policy/ops.h"
#include "policy/optimizer.h"
#include "recipes/workers.h"

namespace ponder::recipes {
namespace {

// GFLOP/s of one large product, best of a few.
double matmul_peak(at::ScalarType dtype) {
  const at::NoGradGuard no_grad;
  constexpr int64_t kSize = 2048;
  const at::Tensor x = at::randn({kSize, kSize}).to(dtype), w = at::randn({kSize, kSize}).to(dtype);
  at::linear(x, w);
  double best = 0;
  for (int i = 0; i < 5; ++i) {
    const core::Stopwatch watch;
    at::linear(x, w);
    best = std::max(best, 2.0 * std::pow(static_cast<double>(kSize), 3) / watch.seconds() / 1e9);
  }
  return best;
}

// Weights that a token is multiplied with: all active ones but an embedding that is only looked up.
int64_t matmul_weights(const policy::Model& model) {
  const auto& config = model.config();
  return policy::active_parameter_count(model) -
         (config.tie_word_embeddings ? 0 : config.vocab_size * config.hidden_size);
}

struct MicroBatch {
  policy::PackedInput input;
  at::Tensor states, targets;  // int64 [targets]
};

MicroBatch make_micro_batch(const std::vector<int64_t>& lengths, int64_t vocabulary) {
  MicroBatch batch;
  batch.input.cu_seqlens = {0};
  std::vector<int64_t> positions, states;
  for (const int64_t length : lengths) {
    for (int64_t t = 0; t < length; ++t) {
      if (t + 1 < length) states.push_back(static_cast<int64_t>(positions.size()));
      positions.push_back(t);
    }
    batch.input.cu_seqlens.push_back(static_cast<int32_t>(positions.size()));
  }
  const auto tokens = static_cast<int64_t>(positions.size());
  batch.input.token_ids = at::randint(0, vocabulary, {tokens}, at::kLong);
  batch.input.positions = at::tensor(positions);
  batch.states = at::tensor(states);
  batch.targets = batch.input.token_ids.index_select(0, batch.states + 1);
  return batch;
}

// This worker's lengths: the longest first, each to the worker that has the fewest tokens, then in
// their order.
std::vector<int64_t> own_lengths(const std::vector<int64_t>& all, const distributed::Group& group) {
  const std::vector<int> owners = distributed::balanced_owners(all, group.size());
  std::vector<int64_t> own;
  for (size_t i = 0; i < all.size(); ++i) {
    if (owners[i] == group.rank()) own.push_back(all[i]);
  }
  return own;
}

// Sequences in order, filled up to the budget.
std::vector<MicroBatch> make_micro_batches(const StepBenchOptions& options, int64_t vocabulary,
                                           const distributed::Group& group) {
  at::manual_seed(1);
  std::vector<MicroBatch> out;
  std::vector<int64_t> lengths;
  int64_t tokens = 0;
  for (const int64_t length : own_lengths(bench_lengths(options), group)) {
    if (!lengths.empty() && tokens + length > options.train_tokens_max) {
      out.push_back(make_micro_batch(lengths, vocabulary));
      lengths.clear();
      tokens = 0;
    }
    lengths.push_back(length);
    tokens += length;
  }
  if (!lengths.empty()) out.push_back(make_micro_batch(lengths, vocabulary));
  if (options.micro_batches_max > 0 && static_cast<int64_t>(out.size()) > options.micro_batches_max)
    out.resize(options.micro_batches_max);
  return out;
}

using Seconds = std::map<std::string, double>;

// `targets`: of all workers.
Seconds one_update(const policy::Model& model, policy::AdamW& optimizer,
                   const std::vector<MicroBatch>& micro_batches, int64_t targets) {
  Seconds seconds;
  for (size_t i = 0; i < micro_batches.size(); ++i) {
    const MicroBatch& batch = micro_batches[i];
    at::Tensor loss;
    {
      const core::PhaseTimer timer(seconds, "forward");
      const at::Tensor states = model.forward(batch.input).index_select(0, batch.states);
      loss =
          policy::token_logprobs(states, model.output_weight(), batch.targets, 1.0).logprobs.sum() /
          -static_cast<double>(targets);
    }
    const core::PhaseTimer timer(seconds, "backward");
    if (i + 1 == micro_batches.size()) optimizer.expect_last_backward();
    loss.backward();
  }
  {
    const core::PhaseTimer timer(seconds, "sum_gradients");
    optimizer.sum_gradients();
  }
  const core::PhaseTimer timer(seconds, "optimizer");
  optimizer.step(1e-6);
  return seconds;
}

double total(const Seconds& seconds) {
  double sum = 0;
  for (const auto& [phase, value] : seconds) sum += value;
  return sum;
}

}  // namespace

std::vector<int64_t> bench_lengths(const StepBenchOptions& options) {
  const int64_t n = options.sequences;
  const double shortest = 2.0 * static_cast<double>(options.mean_length) / (1 + options.spread);
  std::vector<int64_t> lengths(n);
  int64_t stride = std::max<int64_t>(1, n * 5 / 8);
  while (std::gcd(stride, n) != 1) ++stride;
  for (int64_t i = 0; i < n; ++i) {
    const double share =
        n == 1 ? 0.5 : static_cast<double>(i * stride % n) / static_cast<double>(n - 1);
    lengths[i] = std::max<int64_t>(2, std::llround(shortest * (1 + (options.spread - 1) * share)));
  }
  return lengths;
}

namespace {

int64_t sum_of(const std::vector<int64_t>& values) {
  return std::accumulate(values.begin(), values.end(), int64_t{0});
}

// An update's phases as the slowest worker had them, and what it communicated.
struct Run {
  Seconds seconds;
  distributed::Traffic traffic;  // seconds: this worker's; bytes: all workers'
};

Run slowest(distributed::Group& group, const Seconds& own, const distributed::Traffic& before) {
  const distributed::Traffic now = group.traffic();
  Run run{.seconds = own,
          .traffic = {.seconds = now.seconds - before.seconds,
                      .under_way_seconds = now.under_way_seconds - before.under_way_seconds}};
  for (const data::Json& worker : gather_json(group, own, "the times")) {
    for (const auto& [phase, value] : worker.items())
      run.seconds[phase] = std::max(run.seconds[phase], value.get<double>());
  }
  run.traffic.bytes = sum_of(group.all_values(now.bytes - before.bytes, "the bytes"));
  return run;
}

data::Json traffic_json(const distributed::Traffic& traffic) {
  const double hidden = traffic.under_way_seconds > 0
                            ? std::max(0.0, 1 - traffic.seconds / traffic.under_way_seconds)
                            : 0.0;
  return {{"seconds_waited", traffic.seconds},
          {"seconds_under_way", traffic.under_way_seconds},
          {"share_hidden", hidden},
          {"bytes", traffic.bytes}};
}

}  // namespace

data::Json bench_step(const StepBenchOptions& options, distributed::Group& group) {
  const at::ScalarType dtype = options.bf16 ? at::kBFloat16 : at::kFloat;
  policy::Model model = policy::Model::load(options.model, dtype);
  model.set_gradient_checkpointing(options.gradient_checkpointing);
  policy::AdamW optimizer(model.parameters(), {.adam_moments_dtype = options.moments}, &group);
  const auto micro_batches = make_micro_batches(options, model.config().vocab_size, group);
  int64_t own_tokens = 0, own_targets = 0;
  for (const MicroBatch& batch : micro_batches) {
    own_tokens += batch.input.cu_seqlens.back();
    own_targets += batch.targets.size(0);
  }
  const int64_t tokens = sum_of(group.all_values(own_tokens, "tokens")),
                targets = sum_of(group.all_values(own_targets, "targets"));
  const int64_t rss_before = core::peak_memory_bytes();
  double peak = matmul_peak(dtype);
  one_update(model, optimizer, micro_batches, targets);
  std::vector<Run> runs;
  for (int64_t i = 0; i < options.repetitions; ++i) {
    group.barrier("the next update");
    const distributed::Traffic before = group.traffic();
    const Seconds own = one_update(model, optimizer, micro_batches, targets);
    runs.push_back(slowest(group, own, before));
  }
  peak = std::max(peak, matmul_peak(dtype));
  std::sort(runs.begin(), runs.end(),
            [](const Run& a, const Run& b) { return total(a.seconds) < total(b.seconds); });
  const double best = total(runs.front().seconds), median = total(runs[runs.size() / 2].seconds);
  const double gflop =
      6.0 * static_cast<double>(matmul_weights(model)) * static_cast<double>(tokens) / 1e9;
  data::Json out = {{"model", options.model.string()},
                    {"dtype", options.bf16 ? "bfloat16" : "float32"},
                    {"gradient_checkpointing", options.gradient_checkpointing},
                    {"workers", group.size()},
                    {"threads", at::get_num_threads()},
                    {"tokens", tokens},
                    {"micro_batches", micro_batches.size()},
                    {"lengths", bench_lengths(options)},
                    {"seconds", runs.front().seconds},
                    {"tokens_per_s", static_cast<double>(tokens) / best},
                    {"tokens_per_s_median", static_cast<double>(tokens) / median},
                    {"gflop_per_s", gflop / best},
                    {"matmul_peak_gflop_per_s", peak},
                    {"share_of_peak", gflop / best / peak},
                    {"peak_rss_bytes", core::peak_memory_bytes()},
                    {"rss_before_bytes", rss_before}};
  if (group.size() > 1) out["communication"] = traffic_json(runs.front().traffic);
  return out;
}

}  // namespace ponder::recipes

#include "cli/bench_rollout.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "core/error.h"
#include "core/random.h"
#include "core/timer.h"
#include "policy/kernels/kernels.h"
#include "policy/model.h"
#include "policy/tokenizer.h"
#include "rollout/engine.h"

namespace ponder::cli {
namespace {

using Json = nlohmann::ordered_json;

template <typename Body>
double fastest(int repeats, const Body& body) {
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < repeats; ++i) {
    const core::Stopwatch watch;
    body();
    best = std::min(best, watch.seconds());
  }
  return best;
}

// A sum over words: 64 of them side by side, so that no addition waits for another and the memory
// alone is what it waits for.
uint64_t sum_of(const uint64_t* x, int64_t count) {
  constexpr int64_t kLanes = 64;
  uint64_t lanes[kLanes] = {};
  for (int64_t i = 0; i + kLanes <= count; i += kLanes) {
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] += x[i + l];
  }
  return std::accumulate(lanes, lanes + kLanes, uint64_t{0});
}

// GB/s at which all threads together read 768 MiB, far more than caches hold; the best of several.
double memory_speed() {
  const int64_t words = int64_t{96} << 20;
  const at::Tensor data = at::ones({words}, at::kLong);
  const auto* x = reinterpret_cast<const uint64_t*>(data.const_data_ptr<int64_t>());
  const double seconds = fastest(9, [&] {
    std::atomic<uint64_t> total{0};
    at::parallel_for(0, words, words / at::get_num_threads(), [&](int64_t begin, int64_t end) {
      total += sum_of(x + begin, (end - begin) / 64 * 64);
    });
    PONDER_CHECK(total > 0 && total <= static_cast<uint64_t>(words), "[bench] read {}",
                 total.load());
  });
  return static_cast<double>(data.nbytes()) / seconds / 1e9;
}

// GFLOP/s of a large product in `dtype`: the better of LibTorch's and of our own kernel.
Json matmul_speed(at::ScalarType dtype) {
  const int64_t m = 512, k = 1024, n = 2048;
  const at::Tensor x = at::randn({m, k}).to(dtype), w = at::randn({n, k}).to(dtype);
  const double work = 2.0 * static_cast<double>(m * n * k) / 1e9;
  const double torch = work / fastest(8, [&] { at::linear(x, w); });
  const at::Tensor y = at::empty({m, n}, at::kFloat);
  const auto own = [&](const auto& table, auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    std::vector<const T*> rows;
    for (int64_t r = 0; r < m; ++r)
      rows.push_back(static_cast<const T*>(x.const_data_ptr()) + r * k);
    return work / fastest(8, [&] {
             at::parallel_for(0, n, n / at::get_num_threads(), [&](int64_t begin, int64_t end) {
               table.linear(rows.data(), m, static_cast<const T*>(w.const_data_ptr()), k,
                            y.data_ptr<float>(), n, begin, end);
             });
           });
  };
  const auto& best = policy::kernels::best();
  const double kernel = dtype == at::kFloat
                            ? own(best.f32, static_cast<float*>(nullptr))
                            : own(best.bf16, static_cast<policy::kernels::Bf16*>(nullptr));
  return {{"libtorch", torch}, {"kernel", kernel}};
}

struct Bench {
  const RolloutBenchOptions& options;
  policy::Model model;
  policy::Tokenizer tokenizer;
  Json machine = {};
  double weight_bytes = 0, weight_flop = 0;  // of one token's pass

  std::vector<rollout::Request> requests(int64_t count, int64_t samples,
                                         const std::vector<int64_t>& lengths) const {
    core::Rng rng(options.seed, 7);
    std::vector<rollout::Request> out;
    for (int64_t i = 0; i < count; ++i) {
      rollout::Request request;
      request.prompt.id = fmt::format("bench{}", i);
      for (int64_t t = 0; t < options.prompt_tokens; ++t) {
        request.prompt.token_ids.push_back(
            static_cast<int32_t>(rng.integer(20, model.config().vocab_size - 1)));
      }
      request.options.rule.temperature = options.temperature;
      request.options.num_generations = samples;
      request.options.max_completion_length = options.new_tokens;
      request.options.seed = options.seed;
      request.options.ignore_eos = true;
      if (!lengths.empty()) {
        request.lengths_max.assign(lengths.begin() + i * samples,
                                   lengths.begin() + (i + 1) * samples);
      }
      out.push_back(std::move(request));
    }
    return out;
  }

  Json run(const std::string& name, const std::vector<rollout::Request>& work) {
    rollout::EngineOptions engine_options = options.engine;
    engine_options.int8 = options.dtype == "int8";
    rollout::Engine engine(model, tokenizer, engine_options);
    int64_t samples = 0;
    for (const rollout::Request& request : work) samples += request.options.num_generations;
    double seconds = 1e30, decode_seconds = 1e30;
    int64_t tokens = 0, steps = 0;
    for (int64_t repeat = 0; repeat <= options.repeats; ++repeat) {  // the first warms up
      const rollout::EngineStats before = engine.stats();
      for (const rollout::Request& request : work) engine.submit(request);
      const core::Stopwatch watch;
      while (engine.stats().sampled_tokens - before.sampled_tokens < samples) engine.step();
      const double prefilled = watch.seconds();
      const int64_t passes = engine.stats().passes;
      while (engine.step()) {
      }
      if (repeat == 0) continue;
      seconds = std::min(seconds, watch.seconds());
      decode_seconds = std::min(decode_seconds, watch.seconds() - prefilled);
      tokens = engine.stats().sampled_tokens - before.sampled_tokens;
      steps = engine.stats().passes - passes;
    }
    Json out = report(name, samples, seconds, decode_seconds, tokens, steps);
    const rollout::EngineStats all = engine.stats();
    if (all.guessed_tokens > 0) {
      out["guesses_accepted"] =
          static_cast<double>(all.right_guesses) / static_cast<double>(all.guessed_tokens);
      out["tokens_per_pass"] = static_cast<double>(tokens) / static_cast<double>(steps);
    }
    return out;
  }

  Json report(const std::string& name, int64_t samples, double seconds, double decode_seconds,
              int64_t tokens, int64_t steps) const {
    const auto decoded = static_cast<double>(tokens - samples);
    const double context = static_cast<double>(options.prompt_tokens + options.new_tokens / 2);
    const double cache = decoded * context * static_cast<double>(model.cache_bytes_per_token());
    const double read = static_cast<double>(steps) * weight_bytes + cache;
    const double peak = std::max(machine["matmul_gflop_per_s"]["libtorch"].get<double>(),
                                 machine["matmul_gflop_per_s"]["kernel"].get<double>());
    Json out = {{"name", name},
                {"sequences", samples},
                {"seconds", seconds},
                {"tokens", tokens},
                {"tokens_per_s", static_cast<double>(tokens) / seconds}};
    if (steps == 0) return out;
    out["decode_tokens_per_s"] = decoded / decode_seconds;
    out["decode_ms_per_pass"] = 1e3 * decode_seconds / static_cast<double>(steps);
    out["memory_share"] = read / decode_seconds / 1e9 / machine["memory_gb_per_s"].get<double>();
    out["matmul_share"] = decoded * weight_flop / decode_seconds / 1e9 / peak;
    return out;
  }
};

// Values of the matrices that one token is multiplied with: no embedding but where it is the output
// weight too.
int64_t multiplied_values(const policy::Model& model) {
  const policy::ModelConfig& c = model.config();
  return policy::active_parameter_count(model) -
         (c.tie_word_embeddings ? 0 : c.vocab_size * c.hidden_size);
}

}  // namespace

std::vector<int64_t> spread_lengths(int64_t count, int64_t longest, double spread, uint64_t seed) {
  // Standard normal quantiles by bisection of its distribution function, scaled so that the extreme
  // ones are `spread` apart.
  std::vector<double> z;
  for (int64_t i = 0; i < count; ++i) {
    const double wanted = (static_cast<double>(i) + 0.5) / static_cast<double>(count);
    double low = -6, high = 6;
    for (int step = 0; step < 60; ++step) {
      const double middle = (low + high) / 2;
      (0.5 * std::erfc(-middle / std::sqrt(2.0)) < wanted ? low : high) = middle;
    }
    z.push_back(low);
  }
  std::vector<int64_t> lengths;
  const double width = count > 1 ? z.back() - z.front() : 1;
  for (const double x : z) {
    const double share = std::pow(spread, (x - z.back()) / width);
    lengths.push_back(std::max<int64_t>(1, std::llround(share * static_cast<double>(longest))));
  }
  core::Rng rng(seed, 11);
  for (size_t i = lengths.size(); i > 1; --i)
    std::swap(lengths[i - 1], lengths[rng.integer(0, static_cast<int64_t>(i) - 1)]);
  return lengths;
}

nlohmann::json bench_rollout(const RolloutBenchOptions& options) {
  const at::NoGradGuard no_grad;
  const at::ScalarType dtype = options.dtype == "float32" ? at::kFloat : at::kBFloat16;
  Bench bench{options, policy::Model::load(options.model, dtype),
              policy::Tokenizer::from_folder(options.model)};
  const policy::ModelConfig& config = bench.model.config();
  if (options.prompt_tokens + options.new_tokens > config.max_position_embeddings) {
    core::throw_user("bench rollout: {} prompt and {} new tokens, but the model's context is {}",
                     options.prompt_tokens, options.new_tokens, config.max_position_embeddings);
  }
  bench.weight_flop = 2.0 * static_cast<double>(multiplied_values(bench.model));
  const double width = options.dtype == "int8" ? 1.0 : static_cast<double>(at::elementSize(dtype));
  bench.weight_bytes = bench.weight_flop / 2 * width;
  bench.machine = {{"threads", at::get_num_threads()},
                   {"kernels", policy::kernels::best().name},
                   {"memory_gb_per_s", memory_speed()},
                   {"matmul_gflop_per_s", matmul_speed(dtype)}};
  rollout::Engine engine(bench.model, bench.tokenizer, {});
  Json runs = Json::array();
  for (const int64_t batch : options.batches)
    runs.push_back(bench.run(fmt::format("batch {}", batch), bench.requests(batch, 1, {})));
  if (options.prompts > 0) {
    const auto lengths = spread_lengths(options.prompts * options.group, options.new_tokens,
                                        options.spread, options.seed);
    runs.push_back(bench.run(fmt::format("{} prompts x {}, log-normal 1:{:g}", options.prompts,
                                         options.group, options.spread),
                             bench.requests(options.prompts, options.group, lengths)));
  }
  return Json{{"machine", bench.machine},
              {"model",
               {{"path", options.model.string()},
                {"dtype", options.dtype},
                {"parameters", policy::parameter_count(bench.model, /*with_mtp=*/false)},
                {"multiplied_per_token", multiplied_values(bench.model)},
                {"cache_bytes_per_token", engine.cache_bytes_per_token()},
                {"plain_attention_bytes_per_token", engine.plain_attention_bytes_per_token()}}},
              {"prompt_tokens", options.prompt_tokens},
              {"new_tokens", options.new_tokens},
              {"seed", options.seed},
              {"runs", runs}};
}

}  // namespace ponder::cli

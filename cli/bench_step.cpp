#include "cli/bench_step.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <unistd.h>

#include "core/file.h"
#include "distributed/launch.h"
#include "distributed/spawn.h"
#include "recipes/grpo_bench.h"
#include "recipes/step_bench.h"

namespace ponder::cli {
namespace {

// This verb's words but for --workers, to be a worker's, and where rank 0 shall put its result.
std::vector<std::string> worker_words(const CLI::App& verb, const std::string& result_file) {
  std::vector<std::string> words = {"ponder", "bench", "step", "--result-file", result_file};
  for (const CLI::Option* option : verb.get_options()) {
    if (option->count() == 0 || option->get_name() == "--workers") continue;
    words.push_back(option->get_name());
    for (const std::string& value : option->results()) words.push_back(value);
  }
  return words;
}

// The same update once for each number of workers. Returns the exit status.
int bench_on_workers(const CLI::App& verb, const std::vector<int>& counts) {
  nlohmann::json all = nlohmann::json::array();
  const auto file =
      std::filesystem::temp_directory_path() / fmt::format("ponder-bench-{}.json", ::getpid());
  for (const int workers : counts) {
    const int status = distributed::run_workers(worker_words(verb, file.string()), workers);
    if (status != 0) return status;
    all.push_back(nlohmann::json::parse(core::read_file(file, "result")));
    std::filesystem::remove(file);
    all.back()["speedup"] =
        all.back()["tokens_per_s"].get<double>() / all.front()["tokens_per_s"].get<double>();
  }
  fmt::print("{}\n", all.dump(2));
  return 0;
}

// As one of the workers that were started, or alone.
void bench_here(const recipes::StepBenchOptions& options, const std::string& result_file) {
  distributed::Group group =
      distributed::Group::join(distributed::worker_from_environment(), {.timeout_s = 600});
  const std::string text = recipes::bench_step(options, group).dump(2) + "\n";
  if (group.rank() == 0) {
    if (result_file.empty())
      fmt::print("{}", text);
    else
      core::write_file_atomic(result_file, text);
  }
  group.barrier("the end");
}

}  // namespace

void add_bench_step(CLI::App& bench, int& status) {
  auto o = std::make_shared<recipes::StepBenchOptions>();
  CLI::App* verb = bench.add_subcommand(
      "step", "training throughput of a policy, share of the matmul peak, peak memory");
  verb->add_option("--model", o->model, "a Hugging Face folder")->required();
  verb->add_option("--bf16", o->bf16, "bfloat16 weights with float32 masters; false: float32")
      ->capture_default_str();
  verb->add_option("--gradient-checkpointing", o->gradient_checkpointing, "less memory, more work")
      ->capture_default_str();
  verb->add_option("--adam-moments-dtype", o->moments, "of bfloat16 weights: float32, bfloat16")
      ->transform(CLI::Transformer(std::map<std::string, policy::MomentsDtype>{
          {"float32", policy::MomentsDtype::kFloat32},
          {"bfloat16", policy::MomentsDtype::kBFloat16}}));
  verb->add_option("--sequences", o->sequences, "in one optimizer update")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  verb->add_option("--mean-length", o->mean_length, "tokens of a sequence")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  verb->add_option("--spread", o->spread, "longest length over shortest")
      ->check(CLI::Range(1.0, 1e6))
      ->capture_default_str();
  verb->add_option("--train-tokens-max", o->train_tokens_max, "tokens in one forward and backward")
      ->check(CLI::Range(1, 1 << 30))
      ->capture_default_str();
  verb->add_option("--repetitions", o->repetitions, "updates that are timed; the best counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  verb->add_option("--micro-batches", o->micro_batches_max, "only so many of each update; 0: all")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  auto g = std::make_shared<recipes::GrpoBenchOptions>();
  auto grpo = std::make_shared<bool>(false);
  verb->add_flag("--grpo", *grpo, "a whole GRPO step by phase instead: sample, reference, train");
  verb->add_option("--prompts", g->prompts, "with --grpo: prompts of a step")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  verb->add_option("--num-generations", g->num_generations, "with --grpo: completions of each")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  verb->add_option("--prompt-tokens", g->prompt_tokens, "with --grpo: of each prompt")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  verb->add_option("--new-tokens", g->new_tokens, "with --grpo: of the longest completion")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  verb->add_option("--beta", g->beta, "with --grpo: above 0 there is a reference policy")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  auto workers = std::make_shared<std::vector<int>>();
  verb->add_option(
          "--workers", *workers,
          "1,2,4: the same update by so many processes on this machine's cores, one result "
          "each, with what communication costs and how much of it compute hides")
      ->delimiter(',')
      ->check(CLI::Range(1, 1024))
      ->excludes("--grpo");
  auto result_file = std::make_shared<std::string>();
  verb->add_option("--result-file", *result_file, "")->group("");  // of workers
  verb->footer(
      "Example:\n  ponder bench step --model smollm2-135m --sequences 64 --spread 4\n"
      "  ponder bench step --model examples/tiny-v3-base --bf16 false --workers 1,2,4\n"
      "  ponder bench step --model smollm2-135m --grpo --prompts 8 --spread 8");
  verb->callback([o, g, grpo, workers, result_file, verb, &status] {
    if (!workers->empty()) {
      status = bench_on_workers(*verb, *workers);
      return;
    }
    if (!*grpo) {
      bench_here(*o, *result_file);
      return;
    }
    g->model = o->model;
    g->bf16 = o->bf16;
    g->gradient_checkpointing = o->gradient_checkpointing;
    g->moments = o->moments;
    g->spread = o->spread;
    g->train_tokens_max = o->train_tokens_max;
    g->repetitions = o->repetitions;
    fmt::print("{}\n", recipes::bench_grpo_step(*g).dump(2));
  });
}

}  // namespace ponder::cli

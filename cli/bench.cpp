#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/bench_fp8.h"
#include "cli/bench_math.h"
#include "cli/bench_rollout.h"
#include "cli/bench_sandbox.h"
#include "cli/bench_step.h"
#include "cli/commands.h"
#include "cli/speculation.h"
#include "cli/validators.h"
#include "core/error.h"

namespace ponder::cli {
namespace {

void add_rollout(CLI::App& bench) {
  auto options = std::make_shared<RolloutBenchOptions>();
  CLI::App* verb = bench.add_subcommand(
      "rollout", "tokens a second of the engine, beside what memory and cores can do at all");
  verb->add_option("--model", options->model, "a Hugging Face folder")->required();
  verb->add_option("--dtype", options->dtype, "of weights and cache; int8: products in 8 bits")
      ->check(CLI::IsMember({"bfloat16", "float32", "int8"}))
      ->capture_default_str();
  verb->add_option("--batches", options->batches, "sequences at a time, as 1,8,32")
      ->delimiter(',')
      ->check(whole(1))
      ->capture_default_str();
  verb->add_option("--prompt-tokens", options->prompt_tokens, "of each sequence")
      ->check(whole(1))
      ->capture_default_str();
  verb->add_option("--new-tokens", options->new_tokens, "of each sequence")
      ->check(whole(2))
      ->capture_default_str();
  verb->add_option("--prompts", options->prompts, "of the groups of spread lengths; 0: none")
      ->check(whole(0))
      ->capture_default_str();
  verb->add_option("--group", options->group, "completions of each of these")
      ->check(whole(1))
      ->capture_default_str();
  verb->add_option("--repeats", options->repeats, "the fastest counts")
      ->check(whole(1))
      ->capture_default_str();
  verb->add_option("--temperature", options->temperature, "of sampling; 0: greedy")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  add_speculation(*verb, options->engine);
  verb->add_option("--seed", options->seed, "of prompts and tokens")
      ->check(whole(0))
      ->capture_default_str();
  verb->footer(
      "Example:\n  ponder bench rollout --model examples/tiny-v3-base --dtype float32 "
      "--batches 1,64 --new-tokens 64");
  verb->callback([options] { fmt::print("{}\n", bench_rollout(*options).dump(2)); });
}

}  // namespace

void add_bench(CLI::App& app, int& status) {
  CLI::App* bench = app.add_subcommand(
      "bench", "figures of this machine as JSON: rollout, step, fp8, math, sandbox");
  bench->require_subcommand(1);
  bench->footer("Example:\n  ponder bench sandbox --seconds 2");

  add_rollout(*bench);
  add_bench_step(*bench, status);

  auto sandbox = std::make_shared<SandboxBenchOptions>();
  CLI::App* sandbox_verb =
      bench->add_subcommand("sandbox", "latency and throughput against a bare interpreter");
  sandbox_verb->add_option("--slots", sandbox->slots, "programs at a time; 0: one a core");
  sandbox_verb->add_option("--seconds", sandbox->seconds, "of each measurement")
      ->capture_default_str();
  sandbox_verb->footer("Example:\n  ponder bench sandbox --seconds 2");
  sandbox_verb->callback([sandbox] { fmt::print("{}\n", bench_sandbox(*sandbox).dump(2)); });

  auto math = std::make_shared<MathBenchOptions>();
  CLI::App* math_verb = bench->add_subcommand("math", "pairs a second of the math checker");
  math_verb->add_option("--cases", math->cases, "folder of math500.jsonl and paraphrase.jsonl")
      ->capture_default_str();
  math_verb->add_option("--seconds", math->seconds, "of each set")->capture_default_str();
  math_verb->add_option("--peer", math->peer,
                        "a Python that has math-verify: timed on the same pairs");
  math_verb->footer("Example:\n  ponder bench math --cases tests/cases/math --peer python3");
  math_verb->callback([math] { fmt::print("{}\n", bench_math(*math).dump(2)); });

  struct Fp8Bench {
    int64_t tokens = 1024, features = 2048;
  };
  auto fp8 = std::make_shared<Fp8Bench>();
  CLI::App* fp8_verb = bench->add_subcommand("fp8", "error of FP8 products against float32");
  fp8_verb->add_option("--tokens", fp8->tokens, "rows of the input")
      ->check(whole(1))
      ->capture_default_str();
  fp8_verb->add_option("--features", fp8->features, "inputs and outputs of the linear")
      ->check(whole(1))
      ->capture_default_str();
  fp8_verb->footer("Example:\n  ponder bench fp8 --features 4096");
  fp8_verb->callback([fp8] { fmt::print("{}\n", bench_fp8(fp8->tokens, fp8->features).dump(2)); });
}

}  // namespace ponder::cli

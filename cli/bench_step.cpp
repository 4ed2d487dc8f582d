#include "cli/bench_step.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include <fmt/format.h>

#include "recipes/grpo_bench.h"
#include "recipes/step_bench.h"

namespace ponder::cli {

void add_bench_step(CLI::App& bench) {
  auto o = std::make_shared<recipes::StepBenchOptions>();
  CLI::App* verb = bench.add_subcommand(
      "step", "training throughput of a policy, share of the matmul peak, peak memory");
  verb->add_option("--model", o->model, "a Hugging Face folder")->required();
  verb->add_option("--bf16", o->bf16, "bfloat16 weights with float32 masters; false: float32")
      ->capture_default_str();
  verb->add_option("--gradient-checkpointing", o->gradient_checkpointing, "less memory, more work")
      ->capture_default_str();
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
  verb->footer(
      "Example:\n  ponder bench step --model smollm2-135m --sequences 64 --spread 4\n"
      "  ponder bench step --model smollm2-135m --grpo --prompts 8 --spread 8");
  verb->callback([o, g, grpo] {
    g->model = o->model;
    g->bf16 = o->bf16;
    g->gradient_checkpointing = o->gradient_checkpointing;
    g->spread = o->spread;
    g->train_tokens_max = o->train_tokens_max;
    g->repetitions = o->repetitions;
    fmt::print("{}\n", (*grpo ? recipes::bench_grpo_step(*g) : recipes::bench_step(*o)).dump(2));
  });
}

}  // namespace ponder::cli

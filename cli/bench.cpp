#include "rewards/math/bench.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/bench_sandbox.h"
#include "cli/commands.h"
#include "core/error.h"

namespace ponder::cli {

void add_bench(CLI::App& app) {
  CLI::App* bench = app.add_subcommand("bench", "figures of this machine as JSON: math, sandbox");
  bench->require_subcommand(1);
  bench->footer("Example:\n  ponder bench sandbox --seconds 2");

  auto sandbox = std::make_shared<SandboxBenchOptions>();
  CLI::App* sandbox_verb =
      bench->add_subcommand("sandbox", "latency and throughput against a bare interpreter");
  sandbox_verb->add_option("--slots", sandbox->slots, "programs at a time; 0: one a core");
  sandbox_verb->add_option("--seconds", sandbox->seconds, "of each measurement")
      ->capture_default_str();
  sandbox_verb->footer("Example:\n  ponder bench sandbox --seconds 2");
  sandbox_verb->callback([sandbox] { fmt::print("{}\n", bench_sandbox(*sandbox).dump(2)); });

  struct MathBench {
    std::string cases = "tests/cases/math";
    double seconds = 2;
  };
  auto math = std::make_shared<MathBench>();
  CLI::App* math_verb = bench->add_subcommand("math", "pairs a second of the math checker");
  math_verb->add_option("--cases", math->cases, "folder of math500.jsonl and paraphrase.jsonl")
      ->capture_default_str();
  math_verb->add_option("--seconds", math->seconds, "of each set")->capture_default_str();
  math_verb->footer("Example:\n  ponder bench math --cases tests/cases/math");
  math_verb->callback(
      [math] { fmt::print("{}\n", rewards::bench_math(math->cases, math->seconds).dump(2)); });
}

}  // namespace ponder::cli

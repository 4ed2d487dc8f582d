// `ponder bench sandbox`: latency and throughput of the sandbox against a bare interpreter in the
// same minute.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace ponder::cli {

struct SandboxBenchOptions {
  int slots = 0;       // programs at a time; 0: one a core
  double seconds = 2;  // of each measurement
};

// One JSON object. Latencies are medians in ms of sequential runs of a program that prints 42:
// `bare_python_ms` (fork, exec of the interpreter with the file, output read), `cold_python_ms` (a
// fresh interpreter in a fresh run), `warm_python_ms`, `cpp_ms` (compiled before), `first_run_ms`
// (the pool's start included). Throughputs are runs/s with `slots` at a time: `bare_python_per_s`,
// `warm_python_per_s`, `cpp_per_s`, `function_tests_per_s`. `cold_latency_over_bare` and
// `warm_throughput_over_bare` compare the two in turns of a ninth of the time and give the median
// of the turns' ratios; `warm_throughput_over_bare_turns` lists them.
nlohmann::json bench_sandbox(const SandboxBenchOptions& options);

}  // namespace ponder::cli

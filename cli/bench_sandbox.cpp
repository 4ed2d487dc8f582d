#include "cli/bench_sandbox.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <thread>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/error.h"
#include "core/file.h"
#include "sandbox/sandbox.h"

namespace ponder::cli {

namespace {

using Clock = std::chrono::steady_clock;
using Work = std::function<void()>;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<long>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double median_ms(double seconds, const Work& work) {
  std::vector<double> times;
  work();
  const auto begin = Clock::now();
  while (ms_since(begin) < seconds * 1000 || times.size() < 5) {
    const auto start = Clock::now();
    work();
    times.push_back(ms_since(start));
  }
  return median(times);
}

double per_second(double seconds, int slots, const Work& work) {
  std::atomic<int> done{0};
  std::vector<std::thread> threads;
  const auto begin = Clock::now();
  for (int i = 0; i < slots; ++i)
    threads.emplace_back([&] {
      while (ms_since(begin) < seconds * 1000) {
        work();
        ++done;
      }
    });
  for (auto& thread : threads) thread.join();
  return done / (ms_since(begin) / 1000);
}

// Takes turns, so that what else the machine does meets both alike.
struct Comparison {
  std::vector<double> bare, boxed, ratios;
};
constexpr int kTurns = 9;

Comparison take_turns(double seconds, const std::function<double(double, bool)>& measure) {
  Comparison out;
  for (int turn = 0; turn < kTurns; ++turn) {
    out.bare.push_back(measure(seconds / kTurns, true));
    out.boxed.push_back(measure(seconds / kTurns, false));
    out.ratios.push_back(out.boxed.back() / out.bare.back());
  }
  return out;
}

// `python3 FILE` as anyone would run it: new process, its output read to the end.
void run_bare(const std::string& python, const std::string& file) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) core::throw_run("[bench sandbox] cannot make a pipe");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  std::string program = python, argument = file;
  char* argv[] = {program.data(), argument.data(), nullptr};
  pid_t pid = -1;
  const int error = posix_spawn(&pid, python.c_str(), &actions, nullptr, argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  char buffer[64];
  while (error == 0 && read(ends[0], buffer, sizeof buffer) > 0) {
  }
  close(ends[0]);
  int status = 1;
  if (error == 0) waitpid(pid, &status, 0);
  if (status != 0) core::throw_run("[bench sandbox] '{}' does not run", python);
}

sandbox::Request request(const char* code, const char* language) {
  sandbox::Request out;
  out.language = language;
  out.code = code;
  out.tests = {{"", "42\n"}};
  return out;
}

void must_pass(sandbox::Sandbox& box, const sandbox::Request& request) {
  const sandbox::Result result = box.run(request);
  if (!result.passed)
    core::throw_run("[bench sandbox] a program that prints 42 got {}: {}",
                    sandbox::verdict_code(result.verdict), result.reason);
}

}  // namespace

nlohmann::json bench_sandbox(const SandboxBenchOptions& options) {
  const int slots = options.slots > 0
                        ? options.slots
                        : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  const double seconds = options.seconds;
  const std::string python = sandbox::python_language().run[0];
  const auto file =
      std::filesystem::temp_directory_path() / ("ponder_bench_" + std::to_string(getpid()) + ".py");
  core::write_file_atomic(file, "print(42)\n");
  const auto script = request("print(42)\n", "python");
  const auto binary = request("#include <cstdio>\nint main() { puts(\"42\"); }\n", "cpp");
  auto function = request("def f(x):\n    return x + 1\n", "python");
  function.function = sandbox::FunctionTests{"f", "assert f(41) == 42", "", ""};
  const Work bare = [&] { run_bare(python, file.string()); };
  sandbox::Options cold_options, warm_options;
  cold_options.slots = warm_options.slots = slots;
  cold_options.warm = false;

  nlohmann::json out = {{"slots", slots}, {"seconds_each", seconds}, {"python", python}};
  const auto start = Clock::now();
  sandbox::Sandbox cold(cold_options);
  must_pass(cold, script);
  out["first_run_ms"] = ms_since(start);
  sandbox::Sandbox warm(warm_options);
  const Work run_cold = [&] { must_pass(cold, script); },
             run_warm = [&] { must_pass(warm, script); };
  const Comparison latency = take_turns(2 * seconds, [&](double part, bool is_bare) {
    return median_ms(part, is_bare ? bare : run_cold);
  });
  per_second(0, slots, run_warm);  // all interpreters are ready
  const Comparison rate = take_turns(2 * seconds, [&](double part, bool is_bare) {
    return per_second(part, slots, is_bare ? bare : run_warm);
  });
  out["bare_python_ms"] = median(latency.bare);
  out["cold_python_ms"] = median(latency.boxed);
  out["cold_latency_over_bare"] = median(latency.ratios);
  out["bare_python_per_s"] = median(rate.bare);
  out["warm_python_per_s"] = median(rate.boxed);
  out["warm_throughput_over_bare"] = median(rate.ratios);
  out["warm_throughput_over_bare_turns"] = rate.ratios;
  out["cold_python_per_s"] = per_second(seconds, slots, run_cold);
  out["warm_python_ms"] = median_ms(seconds, run_warm);
  const std::pair<const char*, const sandbox::Request*> kinds[] = {{"cpp", &binary},
                                                                   {"function_tests", &function}};
  for (const auto& [name, kind] : kinds) {
    const Work work = [&] { must_pass(warm, *kind); };
    out[std::string(name) + "_ms"] = median_ms(seconds, work);
    out[std::string(name) + "_per_s"] = per_second(seconds, slots, work);
  }
  std::filesystem::remove(file);
  return out;
}

}  // namespace ponder::cli

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <sched.h>
#include <unistd.h>

#include "cli/commands.h"
#include "core/error.h"
#include "policy/cuda/open_plugin.h"
#include "sandbox/sandbox.h"

namespace ponder::cli {
namespace {

using nlohmann::ordered_json;

// The value of the first "key : value" line of a /proc file; "" where there is none.
std::string proc_value(const char* file, const std::string& key) {
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(key)) continue;
    const size_t value = line.find_first_not_of(" \t", line.find(':') + 1);
    return value == std::string::npos ? "" : line.substr(value);
  }
  return "";
}

// Those of the instruction sets that matter to LibTorch's kernels.
std::vector<std::string> instruction_sets() {
  const std::string flags = " " + proc_value("/proc/cpuinfo", "flags") + " ";
  std::vector<std::string> out;
  for (const char* name :
       {"avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"}) {
    if (flags.find(" " + std::string(name) + " ") != std::string::npos) out.emplace_back(name);
  }
  return out;
}

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) == 0
             ? CPU_COUNT(&set)
             : static_cast<int>(std::thread::hardware_concurrency());
}

int count_gpus() {
  int count = 0;
  while (std::filesystem::exists(fmt::format("/dev/nvidia{}", count))) ++count;
  return count;
}

// Whether the plugin for GPUs could be opened, and if not, why.
std::string cuda_plugin() {
  try {
    return fmt::format("opened, {} GPUs", policy::open_cuda_plugin().device_count());
  } catch (const core::UserError& error) {  // doctor's finding
    return error.what();
  }
}

// Each guarantee of the sandbox as this machine gives it, tried with real boxes.
ordered_json sandbox_guarantees() {
  ordered_json out = ordered_json::object();
  for (const sandbox::Guarantee& guarantee : sandbox::probe_guarantees()) {
    const char* state = guarantee.state == sandbox::Guarantee::State::kExact     ? "exact"
                        : guarantee.state == sandbox::Guarantee::State::kSampled ? "sampled"
                                                                                 : "missing";
    out[guarantee.name] = {
        {"state", state}, {"what", guarantee.what}, {"detail", guarantee.detail}};
  }
  return out;
}

// Whether the sandbox's interpreter and compiler work inside it.
ordered_json sandbox_languages(const ordered_json& guarantees) {
  ordered_json out = ordered_json::object();
  for (const sandbox::Language& language : {sandbox::python_language(), sandbox::cpp_language()}) {
    sandbox::Options options;
    options.slots = 1;
    for (const auto& [name, guarantee] : guarantees.items())
      if (name != "isolation") options.allow_weaker.push_back(name);
    const auto& command = language.compile.empty() ? language.run : language.compile;
    try {
      sandbox::Sandbox(options).check_language(language.name);
      out[language.name] = "works: " + command.front();
    } catch (const std::runtime_error& error) {  // UserError and RunError: doctor's finding
      out[language.name] = error.what();
    }
  }
  return out;
}

ordered_json examine() {
  const ordered_json guarantees = sandbox_guarantees();
  return {
      {"ponder", version_text()},
      {"cpu", proc_value("/proc/cpuinfo", "model name")},
      {"cores", usable_cores()},
      {"instruction_sets", instruction_sets()},
      {"libtorch_kernels", at::get_cpu_capability()},
      {"threads", at::get_num_threads()},
      {"memory_available", proc_value("/proc/meminfo", "MemAvailable")},
      {"disk_free_gib", static_cast<double>(std::filesystem::space(".").available >> 20) / 1024.0},
      {"gpus", count_gpus()},
      {"cuda_plugin", cuda_plugin()},
      {"sandbox", guarantees},
      {"sandbox_languages", sandbox_languages(guarantees)}};
}

}  // namespace

void add_doctor(CLI::App& app) {
  auto json = std::make_shared<bool>(false);
  CLI::App* verb = app.add_subcommand(
      "doctor", "what this machine offers: cores, instruction sets, GPUs, sandbox features");
  verb->add_flag("--json", *json, "one JSON object");
  verb->footer("Example:\n  ponder doctor");
  verb->callback([json] {
    const ordered_json found = examine();
    if (*json) {
      fmt::print("{}\n", found.dump());
      return;
    }
    for (const auto& [key, value] : found.items()) {
      if (key.starts_with("sandbox")) continue;
      fmt::print("{:<18}{}\n", key, value.is_string() ? value.get<std::string>() : value.dump());
    }
    for (const auto& [name, guarantee] : found["sandbox"].items()) {
      fmt::print("sandbox {:<16}{}: {}\n", name, guarantee["state"].get<std::string>(),
                 guarantee["what"].get<std::string>());
    }
    for (const auto& [name, state] : found["sandbox_languages"].items())
      fmt::print("sandbox {:<16}{}\n", name, state.get<std::string>());
  });
}

}  // namespace ponder::cli

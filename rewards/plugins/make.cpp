#include <cstdlib>
#include <filesystem>

#include "core/error.h"
#include "rewards/plugins/embedded.h"
#include "rewards/plugins/pool.h"

namespace ponder::rewards {
namespace {

namespace fs = std::filesystem;

// ".so" and ".py[:function]" take a file; everything else with a '/' or a blank is a command line.
struct PythonName {
  std::string file, function;
};

std::optional<PythonName> python_name(const std::string& name) {
  if (name.ends_with(".py") && (fs::exists(name) || name.find(' ') == std::string::npos))
    return PythonName{name, ""};
  const size_t colon = name.rfind(".py:");
  if (colon == std::string::npos || name.find_first_of(" /", colon) != std::string::npos)
    return std::nullopt;
  return PythonName{name.substr(0, colon + 3), name.substr(colon + 4)};
}

bool is_shared_object(const std::string& name) {
  return name.ends_with(".so") && (fs::exists(name) || name.find(' ') == std::string::npos);
}

void must_exist(const std::string& file) {
  if (!fs::is_regular_file(file))
    core::throw_user("the reward {} does not load: no such file", file);
}

std::string python() {
  const char* chosen = std::getenv("PONDER_PYTHON");
  return chosen == nullptr || *chosen == '\0' ? "python3" : chosen;
}

}  // namespace

bool names_plugin(const std::string& name) {
  return is_shared_object(name) || python_name(name) ||
         name.find_first_of(" /") != std::string::npos;
}

std::unique_ptr<Reward> make_plugin(const RewardSpec& spec) {
  const auto options = read_options<PluginOptions>(spec);
  if (is_shared_object(spec.name)) {
    must_exist(spec.name);
    return std::make_unique<PluginReward>(
        spec.name,
        WorkerCommand{{"ponder-reward-host", fs::absolute(spec.name).string()}, plugin_host()},
        Protocol::kList, options);
  }
  if (const auto named = python_name(spec.name)) {
    must_exist(named->file);
    return std::make_unique<PluginReward>(
        spec.name,
        WorkerCommand{{python(), "-c", std::string(python_worker()), named->file, named->function},
                      {}},
        Protocol::kList, options);
  }
  if (spec.name.find(' ') == std::string::npos) must_exist(spec.name);
  return std::make_unique<PluginReward>(spec.name,
                                        WorkerCommand{{"/bin/sh", "-c", "exec " + spec.name}, {}},
                                        Protocol::kLines, options);
}

}  // namespace ponder::rewards

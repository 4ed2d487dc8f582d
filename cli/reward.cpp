#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "cli/commands.h"
#include "core/error.h"
#include "rewards/contract.h"
#include "rewards/plugins/skeleton.h"

namespace ponder::cli {
namespace {

struct RewardRequest {
  std::string name, language = "python", cases;
};

void run_new(const RewardRequest& request) {
  for (const auto& file : rewards::write_skeleton(request.name, request.language))
    fmt::print("{}\n", file.string());
  fmt::print(stderr, "try it: make -C {} test\n", request.name);
}

void run_test(const RewardRequest& request, int& status) {
  const auto clauses = rewards::test_contract(request.name, request.cases);
  fmt::print("{}", rewards::report_of(clauses));
  status = rewards::all_hold(clauses) ? 0 : 1;
}

}  // namespace

void add_reward(CLI::App& app, int& status) {
  auto request = std::make_shared<RewardRequest>();
  CLI::App* verb = app.add_subcommand("reward", "plugins: start one, test one");
  verb->require_subcommand(1);
  CLI::App* fresh = verb->add_subcommand("new", "write a plugin that works, with its test");
  fresh->add_option("name", request->name, "the folder to make; its last part names the reward")
      ->required();
  fresh->add_option("--lang", request->language, "python, cpp or c")->capture_default_str();
  fresh->footer("Example:\n  ponder reward new my_reward --lang python && make -C my_reward test");
  fresh->callback([request] { run_new(*request); });
  CLI::App* test = verb->add_subcommand(
      "test", "the contract suite on a plugin; exit status 1 where it breaks one");
  test->add_option("plugin", request->name,
                   "FILE.so, FILE.py[:FUNCTION] or a command; options as in --reward")
      ->required();
  test->add_option("--cases", request->cases,
                   "JSON lines as for `ponder score`, with \"expected\"");
  test->footer(
      "Example:\n  ponder reward test './my_reward.py{deadline_s = 2}' --cases cases.jsonl");
  test->callback([request, &status] { run_test(*request, status); });
}

}  // namespace ponder::cli

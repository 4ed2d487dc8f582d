// The program `ponder`: words into calls of recipes/. The one place where exceptions become exit
// statuses: 0 done, 1 failed, 2 wrong use or wrong input, 128 + n stopped by signal n with
// everything saved.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include <fcntl.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/sandbox_command.h"
#include "core/error.h"
#include "core/spelling.h"
#include "recipes/reward_model.h"

namespace ponder::cli {
namespace {

constexpr int kFailed = 1;
constexpr int kWrongInput = 2;

int complain(const char* kind, const char* what, int status) {
  fmt::print(stderr, "ponder: {}{}\n", kind, what);
  return status;
}

// A closed stdin, stdout or stderr would be given to the next file that is opened.
void open_standard_files() {
  int fd = ::open("/dev/null", O_RDWR);
  while (fd >= 0 && fd <= STDERR_FILENO) fd = ::open("/dev/null", O_RDWR);
  if (fd >= 0) ::close(fd);
}

// CLI11 says of an unknown verb only that one is required.
void check_verb(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return;
  std::vector<std::string> verbs;
  for (const CLI::App* verb : app.get_subcommands({})) verbs.push_back(verb->get_name());
  if (std::find(verbs.begin(), verbs.end(), argv[1]) != verbs.end()) return;
  core::throw_user("unknown verb '{}'{}", argv[1], core::suggestion(argv[1], verbs));
}

int run(int argc, char** argv) {
  CLI::App app{"ponder: reinforcement-learning post-training of language models"};
  app.name("ponder");
  app.set_version_flag("--version", version_text());
  app.require_subcommand(1);
  app.failure_message([](const CLI::App*, const CLI::Error& error) {
    return fmt::format("ponder: {} (--help says more)\n", error.what());
  });
  int status = 0;
  add_train(app, status);
  add_eval(app);
  add_sample(app);
  add_score(app, recipes::load_reward_model);
  add_reward(app, status);
  add_report(app);
  add_serve(app);
  add_model(app);
  add_sandbox_command(app);
  add_bench(app, status);
  add_doctor(app);
  check_verb(app, argc, argv);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& wanted) {  // --help, --version
    return app.exit(wanted);
  } catch (const CLI::ParseError& error) {
    app.exit(error);
    return kWrongInput;
  }
  // Of `train` stdout holds talk, which may be lost; of the other verbs the results.
  const bool lost = std::fflush(stdout) != 0 || std::ferror(stdout) != 0;
  if (lost && !app.got_subcommand("train")) {
    return complain("", "cannot write the results to stdout: is the disk full?", kFailed);
  }
  return status;
}

}  // namespace
}  // namespace ponder::cli

int main(int argc, char** argv) {
  using namespace ponder;
  cli::open_standard_files();
  // LibTorch then asks for huge pages: weights and caches are read through few entries of the
  // processor's page tables. Read once, before the first tensor.
  ::setenv("THP_MEM_ALLOC_ENABLE", "1", /*overwrite=*/0);
  try {
    return cli::run(argc, argv);
  } catch (const core::UserError& error) {
    return cli::complain("", error.what(), cli::kWrongInput);
  } catch (const core::InternalError& error) {
    return cli::complain("internal error, please report it: ", error.what(), cli::kFailed);
  } catch (const std::filesystem::filesystem_error& error) {
    const bool full = error.code() == std::errc::no_space_on_device;
    return cli::complain("", error.what(), full ? cli::kWrongInput : cli::kFailed);
  } catch (const std::exception& error) {
    return cli::complain("", error.what(), cli::kFailed);
  }
}

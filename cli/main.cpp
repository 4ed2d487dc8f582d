// The program `ponder`: words into calls of recipes/. The one place where exceptions become exit statuses:
// 0 done, 1 failed, 2 wrong use or wrong input, 128 + n stopped by signal n with everything saved.
#include <CLI/CLI.hpp>

#include <cstdio>
#include <filesystem>

#include "cli/commands.h"
#include "core/error.h"

namespace ponder::cli {
namespace {

constexpr int kFailed = 1;
constexpr int kWrongInput = 2;

int complain(const char* kind, const char* what, int status) {
  fmt::print(stderr, "ponder: {}{}\n", kind, what);
  return status;
}

int run(int argc, char** argv) {
  CLI::App app{"ponder: reinforcement-learning post-training of language models"};
  app.name("ponder");
  app.set_version_flag("--version", version_text());
  app.require_subcommand(1);
  app.failure_message(CLI::FailureMessage::simple);
  int status = 0;
  add_train(app, status);
  add_eval(app);
  add_sample(app);
  add_score(app);
  add_reward(app, status);
  add_report(app);
  add_model(app);
  add_doctor(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& wanted) {  // --help, --version
    return app.exit(wanted);
  } catch (const CLI::ParseError& error) {
    app.exit(error);
    return kWrongInput;
  }
  return status;
}

}  // namespace
}  // namespace ponder::cli

int main(int argc, char** argv) {
  using namespace ponder;
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

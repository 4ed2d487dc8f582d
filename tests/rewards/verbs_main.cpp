// `ponder score` and `ponder reward` alone: the verbs' own files without LibTorch, so that rewards
// are tested in seconds.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "cli/commands.h"
#include "core/error.h"

int main(int argc, char** argv) {
  CLI::App app{"ponder"};
  app.require_subcommand(1);
  int status = 0;
  ponder::cli::add_score(app);
  ponder::cli::add_reward(app, status);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  } catch (const ponder::core::UserError& error) {
    fmt::print(stderr, "ponder: {}\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "ponder: {}\n", error.what());
    return 1;
  }
  return status;
}

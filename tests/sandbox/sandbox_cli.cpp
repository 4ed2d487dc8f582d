// `ponder sandbox ...` without the rest of ponder.
#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/bench_sandbox.h"
#include "cli/sandbox_command.h"
#include "core/error.h"

int main(int argc, char** argv) {
  CLI::App app("ponder's sandbox alone, for its tests");
  app.require_subcommand(1);
  try {
    ponder::cli::add_sandbox_command(app);
    ponder::cli::SandboxBenchOptions bench;
    CLI::App* verb = app.add_subcommand("bench", "figures of the sandbox as JSON");
    verb->add_option("--slots", bench.slots, "programs at a time");
    verb->add_option("--seconds", bench.seconds, "of each measurement");
    verb->callback([&] { std::cout << ponder::cli::bench_sandbox(bench).dump(2) << std::endl; });
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  } catch (const ponder::core::UserError& error) {
    std::cerr << error.what() << "\n";
    return 2;
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}

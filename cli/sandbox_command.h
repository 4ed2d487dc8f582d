// `ponder sandbox run`: one untrusted program under limits, its verdict as JSON.
#pragma once

#include <CLI/CLI.hpp>

namespace ponder::cli {

// Adds the verb "sandbox" with its sub-verb "run" to `app`. The sub-verb's callback does the work:
// it prints one JSON object on stdout and returns whenever a verdict was reached, whatever the
// verdict (exit status 0); it throws core::UserError for wrong use or input (2) and core::RunError
// when the machine fails (1).
void add_sandbox_command(CLI::App& app);

}  // namespace ponder::cli

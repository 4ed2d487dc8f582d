// The verb `ponder bench step`.
#pragma once

namespace CLI {
class App;
}

namespace ponder::cli {

void add_bench_step(CLI::App& bench, int& status);

}  // namespace ponder::cli

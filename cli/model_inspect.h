// The verb `ponder model inspect`.
#pragma once

namespace CLI {
class App;
}

namespace ponder::cli {

void add_model_inspect(CLI::App& model);

}  // namespace ponder::cli

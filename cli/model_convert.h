// The verb `ponder model convert`.
#pragma once

namespace CLI {
class App;
}

namespace ponder::cli {

void add_model_convert(CLI::App& model);

}  // namespace ponder::cli

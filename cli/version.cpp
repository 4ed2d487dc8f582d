#include <fmt/format.h>
#include <torch/version.h>

#include "cli/commands.h"

namespace ponder::cli {

std::string version_text() {
  return fmt::format("ponder {} (LibTorch {})", PONDER_VERSION, TORCH_VERSION);
}

}  // namespace ponder::cli

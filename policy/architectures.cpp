#include "policy/architectures.h"

namespace ponder::policy {

const std::vector<Architecture>& architectures() {
  static const std::vector<Architecture> kAll = {
      {"deepseek_v3", read_deepseek_v3},
      {"deepseek_v2", read_deepseek_v2},
      {"qwen2", read_qwen2},
      {"qwen3", read_qwen3},
      {"llama", read_llama},
      {"mistral", read_mistral},
  };
  return kAll;
}

}  // namespace ponder::policy

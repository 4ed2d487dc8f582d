// Qwen2 and Qwen2.5 (arXiv:2407.10671): biases on queries, keys and values alone.
#include "policy/architectures.h"
#include "policy/config.h"

namespace ponder::policy {

void read_qwen2(const ConfigKeys& keys, ModelConfig& config) {
  read_gqa_heads(keys, config, {.num_key_value_heads = 32});
  config.gqa.qkv_bias = true;
  read_qwen_windows(keys, config);
}

}  // namespace ponder::policy

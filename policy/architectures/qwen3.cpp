// Qwen3 (arXiv:2505.09388): norms of each head's queries and keys instead of biases.
#include "policy/architectures.h"
#include "policy/config.h"
#include "policy/config_keys.h"

namespace ponder::policy {

void read_qwen3(const ConfigKeys& keys, ModelConfig& config) {
  read_gqa_heads(keys, config, {.num_key_value_heads = 32, .head_dim = 128});
  config.gqa.qkv_bias = config.gqa.output_bias = keys.boolean("attention_bias", false);
  config.gqa.qk_norm = true;
  read_qwen_windows(keys, config);
}

}  // namespace ponder::policy

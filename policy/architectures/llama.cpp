// Llama (arXiv:2302.13971, 2407.21783) and what calls itself so: SmolLM2, DeepSeek-LLM.
#include "policy/architectures.h"
#include "policy/config.h"
#include "policy/config_keys.h"

namespace ponder::policy {

void read_llama(const ConfigKeys& keys, ModelConfig& config) {
  read_gqa_heads(keys, config, {});
  config.gqa.qkv_bias = config.gqa.output_bias = keys.boolean("attention_bias", false);
  config.mlp_bias = keys.boolean("mlp_bias", false);
}

}  // namespace ponder::policy

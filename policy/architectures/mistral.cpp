// Mistral (arXiv:2310.06825): Llama with a window that every layer sees at most.
#include "policy/architectures.h"
#include "policy/config.h"
#include "policy/config_keys.h"

namespace ponder::policy {

void read_mistral(const ConfigKeys& keys, ModelConfig& config) {
  read_gqa_heads(keys, config, {.num_key_value_heads = 8});
  if (!keys.has("sliding_window") && keys.mentions("sliding_window")) return;
  config.sliding_windows.assign(config.num_hidden_layers, keys.integer("sliding_window", 1, 4096));
}

}  // namespace ponder::policy

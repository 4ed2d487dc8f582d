// What the dense architectures share.
#include <algorithm>

#include <fmt/format.h>

#include "policy/architectures.h"
#include "policy/config.h"
#include "policy/config_keys.h"

namespace ponder::policy {

void read_gqa_heads(const ConfigKeys& keys, ModelConfig& config, const GqaDefaults& defaults) {
  const int64_t heads = config.num_attention_heads;
  GqaConfig& gqa = config.gqa;
  config.attention = AttentionKind::kGqa;
  config.first_k_dense_replace = config.num_hidden_layers;
  const bool missing = !keys.mentions("num_key_value_heads") && defaults.num_key_value_heads > 0;
  gqa.num_key_value_heads =
      keys.integer("num_key_value_heads", 1, missing ? defaults.num_key_value_heads : heads);
  keys.require(heads % gqa.num_key_value_heads == 0,
               fmt::format("num_attention_heads {} is no multiple of num_key_value_heads {}", heads,
                           gqa.num_key_value_heads));
  int64_t head_dim = defaults.head_dim;
  if (!keys.has("head_dim") && head_dim == 0) {
    keys.require(
        config.hidden_size % heads == 0,
        fmt::format("hidden_size {} is no multiple of num_attention_heads {}: say head_dim",
                    config.hidden_size, heads));
    head_dim = config.hidden_size / heads;
  }
  gqa.head_dim = keys.integer("head_dim", 2, head_dim);
  keys.require(gqa.head_dim % 2 == 0,
               fmt::format("head_dim: expected an even number, found {}", gqa.head_dim));
}

void read_qwen_windows(const ConfigKeys& keys, ModelConfig& config) {
  if (!keys.boolean("use_sliding_window", false)) return;
  const int64_t window = keys.has("sliding_window") || !keys.mentions("sliding_window")
                             ? keys.integer("sliding_window", 1, 4096)
                             : 0;
  if (window == 0) return;
  const int64_t layers = config.num_hidden_layers;
  config.sliding_windows.assign(layers, 0);
  if (!keys.has("layer_types")) {
    const int64_t full = keys.integer("max_window_layers", 0, 28);
    for (int64_t i = full; i < layers; ++i) config.sliding_windows[i] = window;
    return;
  }
  const std::vector<std::string> types = keys.texts("layer_types");
  keys.require(static_cast<int64_t>(types.size()) == layers,
               fmt::format("layer_types: expected {} entries, found {}", layers, types.size()));
  for (int64_t i = 0; i < layers; ++i) {
    keys.require(types[i] == "sliding_attention" || types[i] == "full_attention",
                 fmt::format("layer_types: expected full_attention or sliding_attention, found {}",
                             types[i]));
    if (types[i] == "sliding_attention") config.sliding_windows[i] = window;
  }
}

}  // namespace ponder::policy

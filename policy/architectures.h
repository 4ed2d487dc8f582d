// The architectures by config.json's model_type. One is a file in architectures/ that reads its
// keys into the blocks that it is made of (attention of one kind, MLPs, mixtures), and one line in
// architectures.cpp. Where a key is missing, its value is transformers' default.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ponder::policy {

class ConfigKeys;
struct ModelConfig;
struct MoeConfig;

struct Architecture {
  std::string model_type;
  // Fills in what all architectures do not share; num_hidden_layers, hidden_size,
  // num_attention_heads and max_position_embeddings are there. Throws UserError.
  void (*read)(const ConfigKeys& keys, ModelConfig& config);
};

const std::vector<Architecture>& architectures();

void read_deepseek_v2(const ConfigKeys& keys, ModelConfig& config);
void read_deepseek_v3(const ConfigKeys& keys, ModelConfig& config);
void read_llama(const ConfigKeys& keys, ModelConfig& config);
void read_mistral(const ConfigKeys& keys, ModelConfig& config);
void read_qwen2(const ConfigKeys& keys, ModelConfig& config);
void read_qwen3(const ConfigKeys& keys, ModelConfig& config);

// Parts that several share. Heads: num_key_value_heads and head_dim, where the key is missing these
// (0: as many as heads, hidden size over heads). A num_key_value_heads of null: as many as heads.
struct GqaDefaults {
  int64_t num_key_value_heads = 0, head_dim = 0;
};
void read_gqa_heads(const ConfigKeys& keys, ModelConfig& config, const GqaDefaults& defaults);
// Qwen's layer_types, or use_sliding_window with max_window_layers.
void read_qwen_windows(const ConfigKeys& keys, ModelConfig& config);
// DeepSeek's latent attention and the sizes of its mixtures.
void read_mla(const ConfigKeys& keys, ModelConfig& config);
// What a missing key of a mixture means; transformers' configs of V2 and V3 differ.
struct MoeDefaults {
  int64_t n_shared_experts, n_group, topk_group;
  double routed_scaling_factor;
};
void read_moe_sizes(const ConfigKeys& keys, const MoeDefaults& defaults, ModelConfig& config);
// Groups and experts that a token can choose fit each other.
void check_moe_groups(const ConfigKeys& keys, const MoeConfig& moe);

}  // namespace ponder::policy

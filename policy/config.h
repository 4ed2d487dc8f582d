// A model's shape, read from a Hugging Face config.json. Knows the keys' names and checks their
// values; knows nothing of tensors. Unknown keys are kept in `raw`, so that a saved model's
// config.json says all that the loaded one said.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "policy/rope.h"

namespace ponder::policy {

enum class AttentionKind { kGqa, kMla };

// Grouped-query attention (arXiv:2305.13245): several query heads share a head of keys and values.
struct GqaConfig {
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;
  bool qkv_bias = false;
  bool output_bias = false;
  bool qk_norm = false;  // RMS norms of each head's queries and keys (Qwen3)
};

// Multi-head latent attention, DeepSeek-V2 (arXiv:2405.04434) §2.1.
struct MlaConfig {
  int64_t q_lora_rank = 0;  // 0: queries are projected directly
  int64_t kv_lora_rank = 0;
  int64_t qk_nope_head_dim = 0;
  int64_t qk_rope_head_dim = 0;
  int64_t v_head_dim = 0;
  bool bias = false;            // of the projections into latents and of the output
  bool rope_interleave = true;  // rotary pairs are neighbours (as V3 stores them), else halves
  int64_t qk_head_dim() const { return qk_nope_head_dim + qk_rope_head_dim; }
};

// How a token's experts are chosen and weighed.
enum class Gate {
  kSigmoidBias,  // V3: sigmoid scores, a bias that only chooses, groups ranked by their two best
  kSoftmax,      // V2: softmax scores, groups (where there are any) ranked by their best
};

// DeepSeekMoE: DeepSeek-V3 (arXiv:2412.19437) §2.1.2, DeepSeek-V2 (arXiv:2405.04434) §2.2.
struct MoeConfig {
  int64_t n_routed_experts = 0;
  int64_t n_shared_experts = 0;
  int64_t num_experts_per_tok = 0;
  int64_t moe_intermediate_size = 0;
  int64_t n_group = 1;
  int64_t topk_group = 1;
  bool norm_topk_prob = true;
  double routed_scaling_factor = 1;
  Gate gate = Gate::kSigmoidBias;
};

struct ModelConfig {
  std::string model_type;
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;  // of the dense layers' MLP
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t first_k_dense_replace = 0;     // the first k layers have a dense MLP, the others are MoE
  int64_t num_nextn_predict_layers = 0;  // multi-token-prediction modules behind the last layer
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;
  RopeConfig rope;
  bool mlp_bias = false;  // of dense and shared MLPs
  bool tie_word_embeddings = false;
  std::vector<int64_t> sliding_windows;  // [layers], or empty: none. The last so many positions
                                         // that a layer sees, its own included; 0: all
  std::vector<int64_t> eos_token_ids;    // config.json's and generation_config.json's
  AttentionKind attention = AttentionKind::kGqa;
  GqaConfig gqa;
  MlaConfig mla;
  MoeConfig moe;
  nlohmann::json raw;  // config.json as read

  bool is_moe(int64_t layer) const { return layer >= first_k_dense_replace; }
  int64_t sliding_window(int64_t layer) const {
    return sliding_windows.empty() ? 0 : sliding_windows.at(layer);
  }
  // Features of a head that rotate.
  int64_t rotary_dim() const {
    return attention == AttentionKind::kMla ? mla.qk_rope_head_dim : gqa.head_dim;
  }
};

// A config.json's "quantization_config" says what DeepSeek-V3's does: F8_E4M3 weights with a scale
// for each 128 x 128 block. They are decoded when they are loaded.
bool is_block_fp8(const nlohmann::json& quantization);

// Reads dir/config.json (and eos_token_id of dir/generation_config.json where there is one). Throws
// UserError that names file and key: missing file, broken JSON, unknown model_type, missing or
// impossible values, options not supported.
ModelConfig read_config(const std::filesystem::path& dir);

// The same from text; `name` stands in the errors for the file.
ModelConfig parse_config(const std::string& text, const std::string& name);

}  // namespace ponder::policy

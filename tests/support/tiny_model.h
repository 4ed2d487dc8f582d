// A DeepSeek-V3 small enough for unit tests: two layers, one of them a mixture with grouped
// routing.
#pragma once

#include <cstdint>
#include <string>

#include "policy/model.h"

namespace ponder::test {

inline std::string tiny_config_text(const std::string& changes = "") {
  return R"({"model_type": "deepseek_v3", "vocab_size": 50, "hidden_size": 32, "intermediate_size": 48,
    "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "first_k_dense_replace": 1,
    "max_position_embeddings": 64, "eos_token_id": 1, "q_lora_rank": 12, "kv_lora_rank": 16, "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8, "v_head_dim": 12, "n_routed_experts": 8, "n_shared_experts": 1, "num_experts_per_tok": 2,
    "moe_intermediate_size": 16, "n_group": 4, "topk_group": 2, "routed_scaling_factor": 2.5)" +
         changes + "}";
}

inline policy::Model tiny_model(uint64_t seed = 1) {
  return policy::Model::random(policy::parse_config(tiny_config_text(), "config.json"), seed);
}

}  // namespace ponder::test

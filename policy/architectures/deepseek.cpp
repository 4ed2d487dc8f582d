// What DeepSeek-V2 and V3 share.
#include <fmt/format.h>

#include "policy/architectures.h"
#include "policy/config.h"
#include "policy/config_keys.h"

namespace ponder::policy {

void read_mla(const ConfigKeys& keys, ModelConfig& config) {
  config.attention = AttentionKind::kMla;
  MlaConfig& mla = config.mla;
  // The key's null means none; where it is missing, V2's and V3's value stands.
  mla.q_lora_rank = keys.mentions("q_lora_rank") ? keys.integer("q_lora_rank", 1, 0) : 1536;
  mla.kv_lora_rank = keys.integer("kv_lora_rank", 1);
  mla.qk_nope_head_dim = keys.integer("qk_nope_head_dim", 1);
  mla.qk_rope_head_dim = keys.integer("qk_rope_head_dim", 2);
  mla.v_head_dim = keys.integer("v_head_dim", 1);
  mla.bias = keys.boolean("attention_bias", false);
  keys.require(
      mla.qk_rope_head_dim % 2 == 0,
      fmt::format("qk_rope_head_dim: expected an even number, found {}", mla.qk_rope_head_dim));
}

void read_moe_sizes(const ConfigKeys& keys, const MoeDefaults& defaults, ModelConfig& config) {
  MoeConfig& moe = config.moe;
  // A key's null means none.
  const auto count = [&](const char* key, int64_t low, int64_t none, int64_t missing) {
    return keys.integer(key, low, keys.mentions(key) ? none : missing);
  };
  moe.n_routed_experts = keys.integer("n_routed_experts", 1);
  moe.n_shared_experts = count("n_shared_experts", 0, 0, defaults.n_shared_experts);
  moe.num_experts_per_tok = keys.integer("num_experts_per_tok", 1);
  moe.moe_intermediate_size = keys.integer("moe_intermediate_size", 1);
  moe.n_group = count("n_group", 1, 1, defaults.n_group);
  moe.topk_group = count("topk_group", 1, 1, defaults.topk_group);
  moe.routed_scaling_factor =
      keys.positive("routed_scaling_factor", defaults.routed_scaling_factor);
  keys.require(keys.integer("moe_layer_freq", 1, 1) == 1, "moe_layer_freq: expected 1");
}

void check_moe_groups(const ConfigKeys& keys, const MoeConfig& moe) {
  keys.require(moe.n_routed_experts % moe.n_group == 0,
               fmt::format("n_routed_experts {} is no multiple of n_group {}", moe.n_routed_experts,
                           moe.n_group));
  const int64_t per_group = moe.n_routed_experts / moe.n_group;
  keys.require(moe.topk_group <= moe.n_group,
               fmt::format("topk_group {} is above n_group {}", moe.topk_group, moe.n_group));
  keys.require(moe.num_experts_per_tok <= moe.topk_group * per_group,
               fmt::format("num_experts_per_tok {} is above the {} experts of the chosen groups",
                           moe.num_experts_per_tok, moe.topk_group * per_group));
}

}  // namespace ponder::policy

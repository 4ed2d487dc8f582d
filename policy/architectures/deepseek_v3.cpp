// DeepSeek-V3 and R1 (arXiv:2412.19437).
#include <fmt/format.h>

#include "policy/architectures.h"
#include "policy/config.h"
#include "policy/config_keys.h"

namespace ponder::policy {

void read_deepseek_v3(const ConfigKeys& keys, ModelConfig& config) {
  read_mla(keys, config);
  config.mla.rope_interleave = keys.boolean("rope_interleave", true);
  config.first_k_dense_replace = keys.integer("first_k_dense_replace", 0, 3);
  config.num_nextn_predict_layers = keys.integer("num_nextn_predict_layers", 0, 0);
  const std::string scoring = keys.text("scoring_func", "sigmoid");
  keys.require(scoring == "sigmoid",
               fmt::format("scoring_func: expected 'sigmoid', found '{}'", scoring));
  const std::string method = keys.text("topk_method", "noaux_tc");
  keys.require(method == "noaux_tc",
               fmt::format("topk_method: expected 'noaux_tc', found '{}'", method));
  if (config.first_k_dense_replace >= config.num_hidden_layers) return;
  read_moe_sizes(
      keys, {.n_shared_experts = 1, .n_group = 8, .topk_group = 4, .routed_scaling_factor = 2.5},
      config);
  config.moe.gate = Gate::kSigmoidBias;
  config.moe.norm_topk_prob = keys.boolean("norm_topk_prob", true);
  check_moe_groups(keys, config.moe);
  keys.require(config.moe.n_group == 1 || config.moe.n_routed_experts >= 2 * config.moe.n_group,
               "n_group: each expert group needs at least 2 experts");
}

}  // namespace ponder::policy

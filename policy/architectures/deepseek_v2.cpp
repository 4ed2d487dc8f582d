// DeepSeek-V2 and V2.5 (arXiv:2405.04434).
#include <fmt/format.h>

#include "core/spelling.h"
#include "policy/architectures.h"
#include "policy/config.h"
#include "policy/config_keys.h"

namespace ponder::policy {

void read_deepseek_v2(const ConfigKeys& keys, ModelConfig& config) {
  read_mla(keys, config);
  config.mlp_bias = keys.boolean("mlp_bias", false);
  config.first_k_dense_replace = keys.integer("first_k_dense_replace", 0, 0);
  const std::string scoring = keys.text("scoring_func", "softmax");
  keys.require(scoring == "softmax",
               fmt::format("scoring_func: expected 'softmax', found '{}'", scoring));
  const std::string method = keys.text("topk_method", "greedy");
  keys.require(method == "greedy" || method == "group_limited_greedy",
               fmt::format("topk_method: unknown '{}'{}", method,
                           core::suggestion(method, {"greedy", "group_limited_greedy"})));
  if (config.first_k_dense_replace >= config.num_hidden_layers) return;
  read_moe_sizes(keys,
                 {.n_shared_experts = 2, .n_group = 1, .topk_group = 1, .routed_scaling_factor = 1},
                 config);
  config.moe.gate = Gate::kSoftmax;
  // transformers does not read V2's norm_topk_prob, which every published V2 sets to false.
  config.moe.norm_topk_prob = false;
  if (method == "greedy") config.moe.n_group = config.moe.topk_group = 1;
  check_moe_groups(keys, config.moe);
}

}  // namespace ponder::policy

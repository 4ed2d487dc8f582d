#include "policy/mtp.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "policy/ops.h"

namespace ponder::policy {

MtpModule build_mtp(ParameterMaker& make, const ModelConfig& config, int64_t depth) {
  const int64_t index = config.num_hidden_layers + depth, hidden = config.hidden_size;
  const std::string prefix = fmt::format("model.layers.{}.", index);
  MtpModule module;
  module.norm_eps = config.rms_norm_eps;
  module.enorm = make.weight(prefix + "enorm.weight", {hidden});
  module.hnorm = make.weight(prefix + "hnorm.weight", {hidden});
  module.eh_proj = make.linear(prefix + "eh_proj", hidden, 2 * hidden);
  module.layer = build_layer(make, config, index, config.moe.n_routed_experts > 0);
  module.head_norm = make.weight(prefix + "shared_head.norm.weight", {hidden});
  return module;
}

at::Tensor mtp_input(const MtpModule& module, const at::Tensor& embedded, const at::Tensor& state) {
  return module.eh_proj(at::cat({rms_norm(embedded, module.enorm, module.norm_eps),
                                 rms_norm(state, module.hnorm, module.norm_eps)},
                                1));
}

}  // namespace ponder::policy

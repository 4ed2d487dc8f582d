#include "policy/decode/quantize.h"

#include <cmath>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

namespace ponder::policy::decode {
namespace {

void add(const at::Tensor& weight, Int8Weights& out) {
  Int8Weight& q = out[weight.const_data_ptr()];
  const int64_t rows = weight.size(0), depth = weight.size(1);
  q.depth = kernels::int8_depth(depth);
  const int64_t columns =
      (rows + kernels::kInt8Columns - 1) / kernels::kInt8Columns * kernels::kInt8Columns;
  q.values.resize(columns * q.depth, 128);
  q.scales.resize(columns);
  at::parallel_for(0, rows, 64, [&](int64_t begin, int64_t end) {
    const at::NoGradGuard no_grad;
    const at::Tensor part = weight.narrow(0, begin, end - begin).to(at::kFloat).contiguous();
    const float* w = part.const_data_ptr<float>();
    for (int64_t r = begin; r < end; ++r, w += depth) {
      float peak = 0;
      for (int64_t d = 0; d < depth; ++d) peak = std::max(peak, std::abs(w[d]));
      q.scales[r] = peak > 0 ? peak / 127 : 1;
      for (int64_t d = 0; d < depth; ++d) {
        q.values[kernels::int8_place(r, d, q.depth)] =
            static_cast<uint8_t>(std::lround(w[d] / q.scales[r]) + 128);
      }
    }
  });
}

void add(const std::vector<const Linear*>& linears, Int8Weights& out) {
  for (const Linear* linear : linears) {
    if (linear->defined()) add(linear->matrix(), out);
  }
}

void add(const Mlp& mlp, Int8Weights& out) {
  add({&mlp.gate_proj, &mlp.up_proj, &mlp.down_proj}, out);
}

void add(const DecoderLayer& layer, Int8Weights& out) {
  if (const auto* gqa = std::get_if<GqaLayer>(&layer.attention)) {
    add({&gqa->q_proj, &gqa->k_proj, &gqa->v_proj, &gqa->o_proj}, out);
  } else {
    const auto& mla = std::get<MlaLayer>(layer.attention);
    add({&mla.q_proj, &mla.q_a_proj, &mla.q_b_proj, &mla.kv_a_proj_with_mqa, &mla.o_proj}, out);
  }
  if (const auto* mlp = std::get_if<Mlp>(&layer.mlp)) {
    add(*mlp, out);
  } else {
    const auto& moe = std::get<MoeLayer>(layer.mlp);
    for (const Mlp& expert : moe.experts) add(expert, out);
    add(moe.shared, out);
  }
}

}  // namespace

Int8Weights quantize(const Model& model) {
  Int8Weights out;
  add(model.lm_head().matrix(), out);
  for (const DecoderLayer& layer : model.layers()) add(layer, out);
  for (const MtpModule& module : model.mtp()) {
    add({&module.eh_proj}, out);
    add(module.layer, out);
  }
  return out;
}

}  // namespace ponder::policy::decode

#include "policy/product.h"

#include <vector>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "policy/block_gemm.h"
#include "policy/block_product.h"

namespace ponder::policy {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

bool has_blocks(const at::Tensor& x) {
  return x.device().is_cpu() && block_gemm_is_fast(x.scalar_type());
}

bool plain_memory(const at::Tensor& x) {
  return (x.stride(1) == 1 && x.stride(0) >= x.size(1)) ||
         (x.stride(0) == 1 && x.stride(1) >= x.size(0));
}

// Transposed bfloat16 is read in pairs.
bool in_pairs(const at::Tensor& b) {
  return b.stride(1) == 1 || (b.size(0) % 2 == 0 && b.stride(1) % 2 == 0 &&
                              reinterpret_cast<uintptr_t>(b.const_data_ptr()) % 4 == 0);
}

// Below this LibTorch's product is as fast.
constexpr int64_t kSmallProduct = 64 * 64 * 64;

bool takes(const at::Tensor& a, const at::Tensor& b) {
  return has_blocks(a) && a.size(0) * b.numel() >= kSmallProduct && plain_memory(a) &&
         plain_memory(b) && (a.scalar_type() == at::kFloat || in_pairs(b));
}

struct BlockLinear : Function<BlockLinear> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight) {
    ctx->save_for_backward({weight.requires_grad() ? x : at::Tensor(), weight});
    return product(x, weight.t());
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor g = grads[0].contiguous();
    variable_list out(2);
    if (ctx->needs_input_grad(0)) out[0] = product(g, saved[1]);
    if (ctx->needs_input_grad(1)) out[1] = product(g.t(), saved[0]);
    return out;
  }
};

}  // namespace

at::Tensor product(const at::Tensor& a, const at::Tensor& b) {
  if (!takes(a, b)) return at::mm(a, b);
  return a.scalar_type() == at::kFloat ? float_product(a, b) : bfloat16_product(a, b);
}

at::Tensor linear_map(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  if (!has_blocks(x))
    return at::linear(x, weight, bias.defined() ? std::optional(bias) : std::nullopt);
  std::vector<int64_t> sizes = x.sizes().vec();
  sizes.back() = weight.size(0);
  const at::Tensor y = BlockLinear::apply(x.reshape({-1, x.size(-1)}), weight).view(sizes);
  return bias.defined() ? y + bias : y;
}

}  // namespace ponder::policy

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "policy/fp8.h"

namespace ponder::policy {
namespace {

// V3's products on matrices: x [tokens, in], weight [out, in].
struct Fp8Product : torch::autograd::Function<Fp8Product> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& weight) {
    const Fp8Matrix x_fp8 = quantize_fp8(x, kFp8Rows);
    const Fp8Matrix weight_fp8 = quantize_fp8(weight, kFp8Blocks);
    context->save_for_backward({x_fp8.values, x_fp8.scales, weight_fp8.values, weight_fp8.scales});
    context->saved_data["x_dtype"] = static_cast<int64_t>(x.scalar_type());
    context->saved_data["weight_dtype"] = static_cast<int64_t>(weight.scalar_type());
    return at::mm(dequantize_fp8(x_fp8), dequantize_fp8(weight_fp8).t()).to(x.scalar_type());
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list grads) {
    const auto saved = context->get_saved_variables();
    const auto dtype = [&](const char* key) {
      return static_cast<at::ScalarType>(context->saved_data[key].toInt());
    };
    at::Tensor x_grad, weight_grad;
    if (context->needs_input_grad(0)) {
      const at::Tensor grad = dequantize_fp8(quantize_fp8(grads[0], kFp8Rows));
      const at::Tensor weight = dequantize_fp8({saved[2], saved[3], kFp8Blocks});
      x_grad = at::mm(grad, weight).to(dtype("x_dtype"));
    }
    if (context->needs_input_grad(1)) {
      const at::Tensor grad = dequantize_fp8(quantize_fp8(grads[0], kFp8Columns));
      const at::Tensor x = dequantize_fp8({saved[0], saved[1], kFp8Rows});
      weight_grad =
          at::mm(grad.t(), dequantize_fp8(quantize_fp8(x, kFp8Columns))).to(dtype("weight_dtype"));
    }
    return {x_grad, weight_grad};
  }
};

}  // namespace

at::Tensor fp8_linear(const at::Tensor& x, const at::Tensor& weight) {
  const at::Tensor flat = x.reshape({-1, x.size(-1)});
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = weight.size(0);
  return Fp8Product::apply(flat, weight).view(shape);
}

}  // namespace ponder::policy

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "policy/device/ops.h"
#include "policy/fp8.h"

namespace ponder::policy {
namespace {

at::Tensor input_gradient(const at::Tensor& grad, const Fp8Matrix& weight) {
  return at::mm(dequantize_fp8(quantize_fp8(grad, kFp8Rows)), dequantize_fp8(weight));
}

at::Tensor weight_gradient(const at::Tensor& grad, const Fp8Matrix& x) {
  const at::Tensor columns = dequantize_fp8(quantize_fp8(grad, kFp8Columns));
  return at::mm(columns.t(), dequantize_fp8(quantize_fp8(dequantize_fp8(x), kFp8Columns)));
}

// The same on a device, whose product sums along rows: a tile of 128 x 1 is one of 1 x 128 of the
// transposed matrix, a block of 128 x 128 stays one.
at::Tensor input_gradient_of(const at::Tensor& grad, const Fp8Matrix& weight) {
  const at::Tensor codes = weight.values.view(at::kByte).t().contiguous();
  return device::fp8_product(
      quantize_fp8(grad, kFp8Rows),
      {codes.view(at::kFloat8_e4m3fn), weight.scales.t().contiguous(), kFp8Blocks});
}

at::Tensor weight_gradient_of(const at::Tensor& grad, const Fp8Matrix& x) {
  return device::fp8_product(quantize_fp8(grad.t(), kFp8Rows),
                             quantize_fp8(dequantize_fp8(x).t(), kFp8Rows));
}

// V3's products on matrices: x [tokens, in], weight [out, in].
struct Fp8Product : torch::autograd::Function<Fp8Product> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& weight) {
    const Fp8Matrix x_fp8 = quantize_fp8(x, kFp8Rows);
    const Fp8Matrix weight_fp8 = quantize_fp8(weight, kFp8Blocks);
    context->save_for_backward({x_fp8.values, x_fp8.scales, weight_fp8.values, weight_fp8.scales});
    context->saved_data["x_dtype"] = static_cast<int64_t>(x.scalar_type());
    context->saved_data["weight_dtype"] = static_cast<int64_t>(weight.scalar_type());
    const at::Tensor product = x.is_cpu()
                                   ? at::mm(dequantize_fp8(x_fp8), dequantize_fp8(weight_fp8).t())
                                   : device::fp8_product(x_fp8, weight_fp8);
    return product.to(x.scalar_type());
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list grads) {
    const auto saved = context->get_saved_variables();
    const auto dtype = [&](const char* key) {
      return static_cast<at::ScalarType>(context->saved_data[key].toInt());
    };
    const Fp8Matrix x{saved[0], saved[1], kFp8Rows}, weight{saved[2], saved[3], kFp8Blocks};
    const bool on_host = grads[0].is_cpu();
    at::Tensor x_grad, weight_grad;
    if (context->needs_input_grad(0)) {
      x_grad = (on_host ? input_gradient(grads[0], weight) : input_gradient_of(grads[0], weight))
                   .to(dtype("x_dtype"));
    }
    if (context->needs_input_grad(1)) {
      weight_grad = (on_host ? weight_gradient(grads[0], x) : weight_gradient_of(grads[0], x))
                        .to(dtype("weight_dtype"));
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

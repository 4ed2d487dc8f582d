#include "cli/bench_fp8.h"

#include <nlohmann/json.hpp>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "policy/linear.h"

namespace ponder::cli {
namespace {

using policy::LinearPrecision;

// y and the gradients of one pass of a linear in `precision`.
struct Products {
  at::Tensor fprop, dgrad, wgrad;
};

Products products(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& grad,
                  LinearPrecision precision) {
  const at::Tensor input = x.detach().requires_grad_();
  policy::Linear linear{.name = "bench", .weight = weight.detach().requires_grad_(), .bias = {}};
  linear.precision = precision;
  const at::Tensor y = linear(input);
  y.backward(grad);
  return {y.detach(), input.grad(), linear.weight.grad()};
}

double error(const at::Tensor& got, const at::Tensor& exact) {
  return ((got.to(at::kDouble) - exact.to(at::kDouble)).norm() / exact.to(at::kDouble).norm())
      .item<double>();
}

nlohmann::json measure(const char* inputs, const at::Tensor& x, const at::Tensor& weight,
                       const at::Tensor& grad) {
  const Products exact = products(x, weight, grad, LinearPrecision::kAsStored);
  nlohmann::json out = {{"inputs", inputs}};
  for (const auto& [name, precision] :
       {std::pair("bfloat16", LinearPrecision::kBFloat16), {"fp8", LinearPrecision::kFp8}}) {
    const Products got = products(x, weight, grad, precision);
    out[name] = {{"fprop", error(got.fprop, exact.fprop)},
                 {"dgrad", error(got.dgrad, exact.dgrad)},
                 {"wgrad", error(got.wgrad, exact.wgrad)}};
  }
  return out;
}

}  // namespace

nlohmann::json bench_fp8(int64_t tokens, int64_t features) {
  at::manual_seed(1);
  const at::Tensor x = at::randn({tokens, features});
  const at::Tensor weight = at::randn({features, features}) * 0.02;
  const at::Tensor grad = at::randn({tokens, features}) * 1e-4;
  const at::Tensor outliers = at::ones({features});
  outliers.slice(0, 7, c10::nullopt, 100).fill_(50);
  return {{"tokens", tokens},
          {"features", features},
          {"products",
           {measure("normal", x, weight, grad),
            measure("outlier features", x * outliers, weight, grad)}}};
}

}  // namespace ponder::cli

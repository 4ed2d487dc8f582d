// Gradients of an operation against central differences in float64.
#pragma once

#include <functional>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace ponder::test {

using Inputs = std::vector<at::Tensor>;

inline at::Tensor random_double(at::IntArrayRef shape, uint64_t seed) {
  at::manual_seed(seed);
  return at::randn(shape, at::kDouble);
}

// Compares the gradients of sum(f(inputs) * random) with central differences in float64.
inline void check_gradients(const std::function<at::Tensor(const Inputs&)>& f, Inputs inputs,
                            double tolerance = 1e-6) {
  for (at::Tensor& x : inputs) x.requires_grad_(true);
  const at::Tensor out = f(inputs);
  const at::Tensor direction = random_double(out.sizes(), 99).to(out.scalar_type());
  const auto objective = [&] { return (f(inputs) * direction).sum(); };
  objective().backward();
  const at::NoGradGuard no_grad;
  const double h = 1e-5;
  for (size_t k = 0; k < inputs.size(); ++k) {
    at::Tensor flat = inputs[k].detach().view({-1});
    const at::Tensor grad = inputs[k].grad().view({-1});
    for (int64_t i = 0; i < flat.numel(); ++i) {
      const double value = flat[i].item<double>();
      flat[i] = value + h;
      const double up = objective().item<double>();
      flat[i] = value - h;
      const double down = objective().item<double>();
      flat[i] = value;
      ASSERT_NEAR(grad[i].item<double>(), (up - down) / (2 * h), tolerance)
          << "input " << k << ", element " << i;
    }
  }
}

}  // namespace ponder::test

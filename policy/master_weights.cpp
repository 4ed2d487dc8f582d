#include "policy/master_weights.h"

#include <bit>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include "core/error.h"
#include "policy/device/ops.h"
#include "policy/simd.h"

namespace ponder::policy {
namespace {

constexpr int64_t kGrainElements = 1 << 14;

struct AdamFactors {
  float decay, beta1, beta2, grad_scale, step_size, second_scale, epsilon;
  uint32_t seed;  // of the rounding of bfloat16 moments
};

// 32 well-mixed bits of a place (the finalizer of MurmurHash3).
PONDER_INLINE uint32_t mixed(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x85EBCA6BU;
  x = (x ^ (x >> 13)) * 0xC2B2AE35U;
  return x ^ (x >> 16);
}

PONDER_INLINE void store_moment(float& to, float x, uint32_t) {
  to = x;
}
// Up where `chance`, 16 bits, exceeds what is cut off.
PONDER_INLINE void store_moment(c10::BFloat16& to, float x, uint32_t chance) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  to.x = static_cast<uint16_t>((bits + chance) >> 16);
}

// A master is parameter bits << 16 plus the signed low half; rounding to nearest (ties upwards) is
// the split of its bits at +0x8000, which keeps the low half within int16.
template <typename M, typename G>
PONDER_SIMD void update_range(uint16_t* high, int16_t* low, M* exp_avg, M* exp_avg_sq,
                              const G* grad, const AdamFactors& f, int64_t begin, int64_t end) {
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) {
    const uint32_t bits = (static_cast<uint32_t>(high[i]) << 16) +
                          static_cast<uint32_t>(static_cast<int32_t>(low[i]));
    float w;
    std::memcpy(&w, &bits, sizeof w);
    const float g = simd::load(grad[i]) * f.grad_scale;
    const float m_before = simd::load(exp_avg[i]);
    const float m = m_before + (1.0F - f.beta1) * (g - m_before);
    const float v = f.beta2 * simd::load(exp_avg_sq[i]) + (1.0F - f.beta2) * g * g;
    const uint32_t chance = mixed(static_cast<uint32_t>(i) ^ f.seed);
    store_moment(exp_avg[i], m, chance & 0xFFFFU);
    store_moment(exp_avg_sq[i], v, chance >> 16);
    w = w * f.decay - f.step_size * m / (std::sqrt(v) * f.second_scale + f.epsilon);
    uint32_t updated;
    std::memcpy(&updated, &w, sizeof updated);
    const uint32_t upper = (updated + 0x8000U) >> 16;
    high[i] = static_cast<uint16_t>(upper);
    low[i] = static_cast<int16_t>(static_cast<int32_t>(updated - (upper << 16)));
  }
}

template <typename T>
PONDER_SIMD double squares(const T* x, int64_t begin, int64_t end) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = begin; i < end; ++i) {
    const double value = simd::load(x[i]);
    sum += value * value;
  }
  return sum;
}

}  // namespace

int64_t GradientBuffer::reserve(int64_t count) {
  constexpr int64_t kCacheLine = 64 / sizeof(float);
  const int64_t place = size_;
  size_ += (count + kCacheLine - 1) / kCacheLine * kCacheLine;
  return place;
}

at::Tensor GradientBuffer::at(int64_t place, at::IntArrayRef shape, at::Device device) {
  if (!values_.defined())
    values_ = at::empty({size_}, at::TensorOptions(at::kFloat).device(device));
  return values_.narrow(0, place, c10::multiply_integers(shape)).view(shape);
}

void GradientBuffer::release() {
  values_ = at::Tensor();
}

struct GradientSum::State {
  std::shared_ptr<GradientBuffer> buffer;
  int64_t place;
  at::Tensor sum;

  void add(const at::Tensor& grad) {
    if (sum.defined()) {
      sum.add_(grad);
    } else {
      sum = buffer->at(place, grad.sizes(), grad.device());
      sum.copy_(grad);
    }
  }
};

namespace {

template <typename State>
struct TakeGradient : torch::autograd::PostAccumulateGradHook {
  explicit TakeGradient(std::shared_ptr<State> to) : state(std::move(to)) {}
  void operator()(const torch::autograd::Variable& parameter) override {
    const at::NoGradGuard no_grad;
    state->add(parameter.grad());
    at::Tensor(parameter).mutable_grad() = at::Tensor();
  }
  std::shared_ptr<State> state;
};

}  // namespace

GradientSum::GradientSum(const at::Tensor& parameter, const std::shared_ptr<GradientBuffer>& buffer)
    : parameter_(parameter) {
  if (parameter.scalar_type() != at::kBFloat16) return;
  state_ = std::make_shared<State>(
      State{.buffer = buffer, .place = buffer->reserve(parameter.numel()), .sum = {}});
  torch::autograd::impl::set_post_acc_grad_hooks(parameter_,
                                                 std::make_unique<TakeGradient<State>>(state_));
}

GradientSum::~GradientSum() {
  if (state_ && parameter_.defined())
    torch::autograd::impl::set_post_acc_grad_hooks(parameter_, nullptr);
}
GradientSum::GradientSum(GradientSum&&) noexcept = default;
GradientSum& GradientSum::operator=(GradientSum&&) noexcept = default;

at::Tensor GradientSum::take() {
  if (state_) {
    state_->buffer->release();
    return std::exchange(state_->sum, at::Tensor());
  }
  const at::Tensor grad = parameter_.grad();
  parameter_.mutable_grad() = at::Tensor();
  return grad;
}

void master_adamw_(const at::Tensor& parameter, const MasterState& state, const at::Tensor& grad,
                   const AdamStep& step) {
  PONDER_CHECK(parameter.scalar_type() == at::kBFloat16 && parameter.is_contiguous() &&
                   grad.sizes() == parameter.sizes(),
               "[master_adamw_] expected a dense bfloat16 parameter and a gradient of its shape");
  if (!parameter.is_cpu()) return device::master_adamw_(parameter, state, grad, step);
  const AdamFactors factors = {
      .decay = static_cast<float>(1.0 - step.learning_rate * step.weight_decay),
      .beta1 = static_cast<float>(step.beta1),
      .beta2 = static_cast<float>(step.beta2),
      .grad_scale = static_cast<float>(step.grad_scale),
      .step_size = static_cast<float>(step.learning_rate / step.bias_correction1),
      .second_scale = static_cast<float>(1.0 / std::sqrt(step.bias_correction2)),
      .epsilon = static_cast<float>(step.epsilon),
      .seed = mixed(static_cast<uint32_t>(step.count))};
  auto* high = reinterpret_cast<uint16_t*>(parameter.data_ptr<c10::BFloat16>());
  auto* low = state.low.data_ptr<int16_t>();
  const at::Tensor dense = grad.contiguous();
  const auto run = [&](auto* m, auto* v, const auto* g) {
    at::parallel_for(0, parameter.numel(), kGrainElements, [&](int64_t begin, int64_t end) {
      update_range(high, low, m, v, g, factors, begin, end);
    });
  };
  const auto with_gradient = [&](auto* m, auto* v) {
    if (dense.scalar_type() == at::kFloat)
      run(m, v, dense.const_data_ptr<float>());
    else
      run(m, v, dense.const_data_ptr<c10::BFloat16>());
  };
  const at::Tensor &m = state.exp_avg, &v = state.exp_avg_sq;
  if (m.scalar_type() == at::kFloat)
    with_gradient(m.data_ptr<float>(), v.data_ptr<float>());
  else
    with_gradient(m.data_ptr<c10::BFloat16>(), v.data_ptr<c10::BFloat16>());
}

at::Tensor master_weights(const at::Tensor& parameter, const at::Tensor& low) {
  if (!parameter.is_cpu()) return device::master_weights(parameter, low);
  const at::Tensor out = at::empty(parameter.sizes(), at::kFloat);
  const auto* upper = reinterpret_cast<const uint16_t*>(parameter.const_data_ptr<c10::BFloat16>());
  const auto* lower = low.const_data_ptr<int16_t>();
  float* to = out.data_ptr<float>();
  for (int64_t i = 0; i < parameter.numel(); ++i) {
    to[i] = std::bit_cast<float>((static_cast<uint32_t>(upper[i]) << 16) +
                                 static_cast<uint32_t>(static_cast<int32_t>(lower[i])));
  }
  return out;
}

double sum_of_squares(const at::Tensor& x) {
  if (!x.is_cpu()) return x.to(at::kDouble).square().sum().item<double>();
  constexpr int64_t kChunk = 1 << 16;
  const at::Tensor dense = x.contiguous();
  const int64_t total = dense.numel(), chunks = (total + kChunk - 1) / kChunk;
  std::vector<double> sums(chunks);
  const auto run = [&](const auto* data) {
    at::parallel_for(0, chunks, 1, [&](int64_t first, int64_t last) {
      for (int64_t c = first; c < last; ++c)
        sums[c] = squares(data, c * kChunk, std::min(total, (c + 1) * kChunk));
    });
  };
  if (dense.scalar_type() == at::kFloat)
    run(dense.const_data_ptr<float>());
  else
    run(dense.const_data_ptr<c10::BFloat16>());
  double sum = 0;
  for (const double part : sums) sum += part;
  return sum;
}

}  // namespace ponder::policy

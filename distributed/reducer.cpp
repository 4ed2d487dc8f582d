#include "distributed/reducer.h"

#include <algorithm>
#include <optional>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include "core/error.h"

namespace ponder::distributed {
namespace {

class OnGradient : public torch::autograd::PostAccumulateGradHook {
 public:
  explicit OnGradient(std::function<void()> call) : call_(std::move(call)) {}
  void operator()(const torch::autograd::Variable&) override { call_(); }

 private:
  std::function<void()> call_;
};

struct Bucket {
  std::vector<size_t> members;
  int64_t numel = 0;
  size_t ready = 0;
  at::Tensor flat;
  std::optional<Pending> pending;
};

}  // namespace

struct GradientReducer::Impl {
  Group& group;
  std::vector<at::Tensor> parameters;
  std::vector<Bucket> buckets;
  std::vector<size_t> bucket_of;  // of each parameter
  std::vector<bool> seen;
  bool armed = false;
  size_t next = 0;  // the first bucket that is not sent: they are sent in order on every worker

  Impl(Group& g, std::vector<at::Tensor> p, int64_t bucket_bytes)
      : group(g), parameters(std::move(p)), bucket_of(parameters.size()), seen(parameters.size()) {
    for (size_t i = parameters.size(); i-- > 0;) assign(i, bucket_bytes);
    if (group.size() == 1) return;
    for (size_t i = 0; i < parameters.size(); ++i) {
      torch::autograd::impl::set_post_acc_grad_hooks(
          parameters[i], std::make_unique<OnGradient>([this, i] { arrived(i); }));
    }
  }

  // Backward reaches the last parameters first. A bucket holds one dtype.
  void assign(size_t i, int64_t bucket_bytes) {
    const at::Tensor& parameter = parameters[i];
    const bool fresh =
        buckets.empty() ||
        parameters[buckets.back().members.front()].scalar_type() != parameter.scalar_type() ||
        (buckets.back().numel + parameter.numel()) * parameter.element_size() > bucket_bytes;
    if (fresh) buckets.emplace_back();
    buckets.back().members.push_back(i);
    buckets.back().numel += parameter.numel();
    bucket_of[i] = buckets.size() - 1;
  }

  void arrived(size_t i) {
    if (!armed || seen[i]) return;
    seen[i] = true;
    ++buckets[bucket_of[i]].ready;
    while (next < buckets.size() && buckets[next].ready == buckets[next].members.size()) send();
  }

  void send() {
    Bucket& bucket = buckets[next++];
    const at::NoGradGuard no_grad;
    bucket.flat = at::empty({bucket.numel}, parameters[bucket.members.front()].options());
    int64_t offset = 0;
    for (const size_t i : bucket.members) {
      at::Tensor part = bucket.flat.narrow(0, offset, parameters[i].numel());
      const at::Tensor& grad = parameters[i].grad();
      if (grad.defined()) {
        part.copy_(grad.reshape({-1}));
      } else {
        part.zero_();
      }
      offset += parameters[i].numel();
    }
    bucket.pending = group.all_reduce_sum_begin(
        bucket.flat, fmt::format("gradients, part {} of {}", next, buckets.size()));
  }

  void take_back(Bucket& bucket) {
    bucket.pending->wait();
    int64_t offset = 0;
    for (const size_t i : bucket.members) {
      const at::Tensor& parameter = parameters[i];
      parameter.mutable_grad() =
          bucket.flat.narrow(0, offset, parameter.numel()).view(parameter.sizes());
      offset += parameter.numel();
    }
  }
};

GradientReducer::GradientReducer(Group& group, std::vector<at::Tensor> parameters,
                                 int64_t bucket_bytes)
    : impl_(std::make_unique<Impl>(group, std::move(parameters), bucket_bytes)) {}

GradientReducer::~GradientReducer() {
  if (impl_->group.size() == 1) return;
  for (const at::Tensor& parameter : impl_->parameters)
    torch::autograd::impl::set_post_acc_grad_hooks(parameter, nullptr);
}

void GradientReducer::arm() {
  impl_->armed = true;
}

void GradientReducer::finish() {
  Impl& impl = *impl_;
  if (impl.group.size() > 1) {
    while (impl.next < impl.buckets.size()) impl.send();
    for (Bucket& bucket : impl.buckets) impl.take_back(bucket);
  }
  for (Bucket& bucket : impl.buckets) {
    bucket.ready = 0;
    bucket.flat.reset();
    bucket.pending.reset();
  }
  std::fill(impl.seen.begin(), impl.seen.end(), false);
  impl.next = 0;
  impl.armed = false;
}

}  // namespace ponder::distributed

#include "distributed/reducer.h"

#include <algorithm>
#include <optional>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include "core/error.h"

namespace ponder::distributed {
namespace {

using torch::autograd::variable_list;

// Called when a leaf's gradient has been added up, after the tensor's own hooks.
class OnGradient : public torch::autograd::FunctionPostHook {
 public:
  explicit OnGradient(std::function<void()> call) : call_(std::move(call)) {}
  variable_list operator()(const variable_list& outputs, const variable_list&) override {
    call_();
    return outputs;
  }

 private:
  std::function<void()> call_;
};

struct Hooked {
  std::shared_ptr<torch::autograd::Node> node;  // the leaf keeps only a weak reference
  uintptr_t key;
};

struct Bucket {
  std::vector<size_t> members;
  int64_t numel = 0;
  size_t ready = 0;
  at::Tensor flat;
  std::optional<Pending> pending;
};

at::ScalarType sum_type(const at::Tensor& parameter) {
  return parameter.scalar_type() == at::kBFloat16 ? at::kFloat : parameter.scalar_type();
}

}  // namespace

struct GradientReducer::Impl {
  Group& group;
  std::vector<at::Tensor> parameters;
  Take take;
  std::vector<Bucket> buckets;
  std::vector<size_t> bucket_of;  // of each parameter
  std::vector<bool> seen;
  std::vector<Hooked> hooks;
  bool armed = false;
  size_t next = 0;  // the first bucket that is not sent: they are sent in order on every worker

  Impl(Group& g, std::vector<at::Tensor> p, Take t, int64_t bucket_bytes)
      : group(g),
        parameters(std::move(p)),
        take(std::move(t)),
        bucket_of(parameters.size()),
        seen(parameters.size()) {
    for (size_t i = parameters.size(); i-- > 0;) assign(i, bucket_bytes);
    for (size_t i = 0; i < parameters.size(); ++i) {
      auto node = torch::autograd::impl::grad_accumulator(parameters[i]);
      const uintptr_t key =
          node->add_post_hook(std::make_unique<OnGradient>([this, i] { arrived(i); }));
      hooks.push_back({std::move(node), key});
    }
  }

  // Backward reaches the last parameters first. A bucket holds one dtype.
  void assign(size_t i, int64_t bucket_bytes) {
    const at::Tensor& parameter = parameters[i];
    const at::ScalarType type = sum_type(parameter);
    const auto bytes = static_cast<int64_t>(c10::elementSize(type));
    const bool fresh = buckets.empty() ||
                       sum_type(parameters[buckets.back().members.front()]) != type ||
                       (buckets.back().numel + parameter.numel()) * bytes > bucket_bytes;
    if (fresh) buckets.emplace_back();
    buckets.back().members.push_back(i);
    buckets.back().numel += parameter.numel();
    bucket_of[i] = buckets.size() - 1;
  }

  void arrived(size_t i) {
    if (!armed) return;
    PONDER_CHECK(!seen[i], "[reducer] a parameter's gradient came in two parts");
    seen[i] = true;
    ++buckets[bucket_of[i]].ready;
    while (next < buckets.size() && buckets[next].ready == buckets[next].members.size()) send();
  }

  void send() {
    Bucket& bucket = buckets[next++];
    const at::NoGradGuard no_grad;
    const at::Tensor& first = parameters[bucket.members.front()];
    bucket.flat = at::empty({bucket.numel}, first.options().dtype(sum_type(first)));
    int64_t offset = 0;
    for (const size_t i : bucket.members) {
      const at::Tensor grad = take(i);
      at::Tensor part = bucket.flat.narrow(0, offset, parameters[i].numel());
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

  void hand_out(Bucket& bucket, std::vector<at::Tensor>& sums) {
    bucket.pending->wait();
    int64_t offset = 0;
    for (const size_t i : bucket.members) {
      const at::Tensor& parameter = parameters[i];
      sums[i] = bucket.flat.narrow(0, offset, parameter.numel()).view(parameter.sizes());
      offset += parameter.numel();
    }
    bucket.ready = 0;
    bucket.flat.reset();
    bucket.pending.reset();
  }
};

GradientReducer::GradientReducer(Group& group, std::vector<at::Tensor> parameters, Take take,
                                 int64_t bucket_bytes)
    : impl_(std::make_unique<Impl>(group, std::move(parameters), std::move(take), bucket_bytes)) {}

GradientReducer::~GradientReducer() {
  for (const Hooked& hook : impl_->hooks) hook.node->del_post_hook(hook.key);
}

void GradientReducer::arm() {
  impl_->armed = true;
}

std::vector<at::Tensor> GradientReducer::finish() {
  Impl& impl = *impl_;
  while (impl.next < impl.buckets.size()) impl.send();
  std::vector<at::Tensor> sums(impl.parameters.size());
  for (Bucket& bucket : impl.buckets) impl.hand_out(bucket, sums);
  std::fill(impl.seen.begin(), impl.seen.end(), false);
  impl.next = 0;
  impl.armed = false;
  return sums;
}

}  // namespace ponder::distributed

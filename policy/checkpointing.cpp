#include "policy/checkpointing.h"

#include <ATen/ATen.h>
#include <ATen/core/ivalue.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

namespace ponder::policy {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// Autograd keeps values of its own types; a function goes in as one of those.
struct SegmentHolder : torch::CustomClassHolder {
  explicit SegmentHolder(Segment held) : segment(std::move(held)) {}
  Segment segment;
};

thread_local bool first_pass = false;

// Segments do not nest.
struct FirstPass {
  FirstPass() { first_pass = true; }
  ~FirstPass() { first_pass = false; }
  FirstPass(const FirstPass&) = delete;
  FirstPass& operator=(const FirstPass&) = delete;
};

struct Checkpoint : Function<Checkpoint> {
  // `anchor` needs a gradient, so that the outputs do even where x does not (a frozen embedding).
  static variable_list forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor&,
                               const c10::intrusive_ptr<SegmentHolder>& holder) {
    ctx->saved_data["segment"] = c10::IValue::make_capsule(holder);
    ctx->save_for_backward({x});
    const FirstPass guard;
    variable_list outputs = holder->segment(x);
    variable_list integers;
    for (const at::Tensor& output : outputs)
      if (!at::isFloatingType(output.scalar_type())) integers.push_back(output);
    ctx->mark_non_differentiable(integers);
    return outputs;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto holder =
        c10::static_intrusive_pointer_cast<SegmentHolder>(ctx->saved_data["segment"].toCapsule());
    const at::Tensor saved = ctx->get_saved_variables()[0];
    const at::Tensor x = saved.detach().requires_grad_(saved.requires_grad());
    variable_list roots, root_grads;
    {
      const at::AutoGradMode record(true);
      const variable_list outputs = holder->segment(x);
      for (size_t i = 0; i < outputs.size(); ++i) {
        if (!grads[i].defined() || !outputs[i].requires_grad()) continue;
        roots.push_back(outputs[i]);
        root_grads.push_back(grads[i]);
      }
    }
    if (!roots.empty()) torch::autograd::backward(roots, root_grads);
    return {x.grad(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

bool in_checkpointed_forward() {
  return first_pass;
}

std::vector<at::Tensor> checkpointed(const Segment& segment, const at::Tensor& x) {
  if (!at::GradMode::is_enabled()) return segment(x);
  const at::Tensor anchor = at::empty({0}).requires_grad_();
  return Checkpoint::apply(x, anchor, c10::make_intrusive<SegmentHolder>(segment));
}

}  // namespace ponder::policy

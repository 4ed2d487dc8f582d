// A whole model on a device, training and sampling, against the CPU's. Runs on a GPU too
// (tests/gpu).
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "policy/lora.h"
#include "policy/ops.h"
#include "policy/optimizer.h"
#include "tests/policy/device_models.h"
#include "tests/support/test_device.h"

namespace ponder::policy {
namespace {

class ModelOnDevice : public testing::TestWithParam<Kind> {
 protected:
  static Model near_model(at::ScalarType dtype = at::kFloat) {
    return model_of(GetParam(), at::kCPU, dtype);
  }
  static Model far_model(at::ScalarType dtype = at::kFloat) {
    return model_of(GetParam(), test::a_device(), dtype);
  }
};

// Two prompts, one with two completions.
PackedInput packed() {
  at::manual_seed(1);
  return {.token_ids = at::randint(0, 50, {17}, at::kLong),
          .positions = at::tensor({0, 1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 0, 1, 2, 3, 4, 5}, at::kLong),
          .cu_seqlens = {0, 4, 8, 11, 17},
          .parents = {-1, 0, 0, -1}};
}

// Log-probabilities of the input's own next tokens; backward of a loss on them, on the host.
at::Tensor train_once(const Model& model, AdamW& optimizer) {
  const PackedInput input = packed();
  MoeRecord record{
      .loads = at::zeros({model.num_moe_layers(), model.config().moe.n_routed_experts}, at::kLong),
      .balance = {}};
  const at::Tensor hidden = model.forward(input, &record);
  const TokenLogprobs out =
      token_logprobs(hidden, model.output_weight(), input.token_ids.roll(-1), 0.9);
  EXPECT_TRUE(out.logprobs.is_cpu());
  (out.logprobs.sum() + 0.1 * out.entropies.sum()).neg().backward();
  EXPECT_TRUE(optimizer.step(1e-2).applied);
  return out.logprobs.detach();
}

TEST_P(ModelOnDevice, TrainsAsOnTheCpu) {
  const Model near = near_model(), far = far_model();
  EXPECT_EQ(far.device(), test::a_device());
  AdamW near_optimizer(near.parameters(), {.weight_decay = 0.1}),
      far_optimizer(far.parameters(), {.weight_decay = 0.1});
  for (int64_t step = 0; step < 3; ++step) {
    SCOPED_TRACE(step);
    const at::Tensor want = train_once(near, near_optimizer), got = train_once(far, far_optimizer);
    EXPECT_LE((want - got).abs().max().item<double>(), step == 0 ? 1e-5 : 1e-3);
  }
  for (const auto& [name, tensor] : far_optimizer.state())
    EXPECT_EQ(tensor.device(), test::a_device()) << name;
}

TEST_P(ModelOnDevice, TrainsInBfloat16WithMastersAndCheckpointing) {
  Model near = near_model(at::kBFloat16), far = far_model(at::kBFloat16);
  near.set_gradient_checkpointing(true);
  far.set_gradient_checkpointing(true);
  AdamW near_optimizer(near.parameters(), {}), far_optimizer(far.parameters(), {});
  at::Tensor want, got;
  for (int64_t step = 0; step < 2; ++step) {
    want = train_once(near, near_optimizer);
    got = train_once(far, far_optimizer);
  }
  EXPECT_LE((want - got).abs().max().item<double>(), 0.2);
}

TEST_P(ModelOnDevice, TrainsAdapters) {
  Model near = near_model(), far = far_model();
  const LoraOptions options{.use_peft = true, .lora_r = 2};
  AdamW near_optimizer(add_lora(near, options, 5), {}),
      far_optimizer(add_lora(far, options, 5), {});
  for (int64_t step = 0; step < 2; ++step) {
    const at::Tensor want = train_once(near, near_optimizer), got = train_once(far, far_optimizer);
    EXPECT_LE((want - got).abs().max().item<double>(), 1e-4);
    refresh_lora(near);
    refresh_lora(far);
  }
}

TEST_P(ModelOnDevice, SamplesAsOnTheCpu) {
  const std::vector<at::Tensor> want = sample_passes(near_model()),
                                got = sample_passes(far_model());
  for (size_t i = 0; i < want.size(); ++i) {
    SCOPED_TRACE(i);
    EXPECT_LE((want[i] - got[i]).abs().max().item<double>(), 2e-5);
  }
}

TEST_P(ModelOnDevice, RefusesWhatOnlyTheCpuDoes) {
  const Model far = far_model();
  EXPECT_ANY_THROW(Decoder(far, /*int8=*/true));
}

INSTANTIATE_TEST_SUITE_P(Kinds, ModelOnDevice, testing::ValuesIn(kinds()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace ponder::policy

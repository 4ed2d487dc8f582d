#include "policy/optimizer.h"

#include <sstream>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "policy/master_weights.h"
#include "tests/support/process.h"

namespace ponder::policy {
namespace {

TEST(LearningRate, WarmsUpHoldsAndDecays) {
  OptimizerOptions o{.learning_rate = 1.0,
                     .lr_scheduler_type = Schedule::kLinear,
                     .warmup_steps = 2,
                     .decay_start = 0.5,
                     .min_lr_ratio = 0.1};
  EXPECT_DOUBLE_EQ(learning_rate_at(o, 0, 10), 0.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(o, 1, 10), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate_at(o, 2, 10), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(o, 5, 10), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(o, 9, 10), 0.1 + 0.9 * 0.2);
  EXPECT_DOUBLE_EQ(learning_rate_at(o, 10, 10), 0.1);
  o.lr_scheduler_type = Schedule::kConstant;
  EXPECT_DOUBLE_EQ(learning_rate_at(o, 9, 10), 1.0);
}

TEST(LearningRate, IsThatOfTransformers) {
  if (test::oracle_python().empty())
    GTEST_SKIP() << "PONDER_ORACLE_PYTHON is not set: `make test` sets it where tools/oracle could "
                    "install transformers";
  const test::Outcome outcome =
      test::run({test::oracle_python(), "tests/policy/oracle/learning_rates.py"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  std::istringstream lines(outcome.out);
  std::string name;
  double warmup = 0, total = 0, least = 0, update = 0, want = 0;
  int64_t count = 0;
  for (; lines >> name >> warmup >> total >> least >> update >> want; ++count) {
    const OptimizerOptions o{.learning_rate = 3e-4,
                             .lr_scheduler_type = name == "linear"   ? Schedule::kLinear
                                                  : name == "cosine" ? Schedule::kCosine
                                                                     : Schedule::kConstant,
                             .warmup_steps = static_cast<int64_t>(warmup),
                             .min_lr_ratio = least};
    EXPECT_NEAR(learning_rate_at(o, static_cast<int64_t>(update), static_cast<int64_t>(total)),
                want, 1e-15)
        << name << ' ' << warmup << ' ' << least << " update " << update;
  }
  EXPECT_EQ(count, 7 * 20);
}

// One step from zero moments moves every element by the rate, against its gradient's sign (Kingma &
// Ba, algorithm 1), less the decay; matrices decay, vectors do not.
TEST(AdamW, FirstStepIsTheSignOfTheGradient) {
  const at::Tensor matrix = at::full({2, 2}, 4.0f).requires_grad_(),
                   vector = at::full({2}, 4.0f).requires_grad_();
  AdamW optimizer({{"m", matrix}, {"v", vector}}, {.weight_decay = 0.5, .max_grad_norm = 0});
  (matrix.sum() * 3 - vector.sum() * 2).backward();
  const AdamW::StepResult result = optimizer.step(0.1);
  EXPECT_TRUE(result.applied);
  EXPECT_NEAR(result.grad_norm, std::sqrt(4 * 9 + 2 * 4.0), 1e-5);
  EXPECT_NEAR(matrix[0][0].item<float>(), 4 * (1 - 0.1 * 0.5) - 0.1, 1e-5);
  EXPECT_NEAR(vector[0].item<float>(), 4.1, 1e-5);
}

TEST(AdamW, ClipsByTheGlobalNormAndLeavesAllAsItIsOnNan) {
  const at::Tensor p = at::zeros({3}).requires_grad_();
  AdamW optimizer({{"p", p}}, {.adam_beta1 = 0.0, .max_grad_norm = 1.0});
  (p * at::tensor({3.0f, 0.0f, 4.0f})).sum().backward();
  EXPECT_NEAR(optimizer.step(0.0).grad_norm, 5.0, 1e-6);
  EXPECT_NEAR(optimizer.state()[0].second[2].item<float>(), 0.8,
              1e-5);  // exp_avg with beta1 = 0 is the clipped gradient
  (p * NAN).sum().backward();
  EXPECT_FALSE(optimizer.step(0.1).applied);
  EXPECT_TRUE(at::equal(p.detach(), at::zeros({3})));
}

TEST(AdamW, MissingGradientsCountAsZeros) {
  const at::Tensor used = at::ones({2}).requires_grad_(), idle = at::ones({2}).requires_grad_();
  AdamW optimizer({{"used", used}, {"idle", idle}}, {});
  used.sum().backward();
  EXPECT_TRUE(optimizer.step(0.1).applied);
  EXPECT_TRUE(at::equal(idle.detach(), at::ones({2})));
}

// Twenty updates of a bfloat16 parameter with masters against the same updates of a float32 one,
// whose values are the masters' start: the masters stay within rounding, the parameter is the
// rounded master.
TEST(AdamW, MastersOfBfloat16FollowFloat32) {
  at::manual_seed(3);
  const at::Tensor start = at::randn({70, 33}).to(at::kBFloat16);
  const at::Tensor low = start.clone().requires_grad_(),
                   full = start.to(at::kFloat).requires_grad_();
  const OptimizerOptions options{.weight_decay = 0.1, .max_grad_norm = 0.5};
  AdamW masters({{"p", low}}, options), floats({{"p", full}}, options);
  for (int i = 0; i < 20; ++i) {
    const at::Tensor g = at::randn({70, 33}).to(at::kBFloat16);
    (low * g).sum().backward();
    (full * g.to(at::kFloat)).sum().backward();
    const double got = masters.step(1e-3).grad_norm, want = floats.step(1e-3).grad_norm;
    EXPECT_NEAR(got, want, 1e-5 * want);
  }
  at::Tensor state;
  for (const auto& [name, tensor] : masters.state()) {
    if (name == "master_low.p") state = tensor;
  }
  const at::Tensor master = master_weights(low.detach(), state);
  EXPECT_LE((master - full.detach()).abs().max().item<double>(), 1e-6);
  // Within half a unit in the last place of bfloat16; ties go up where LibTorch's go to even.
  EXPECT_LE(((master - low.detach().to(at::kFloat)).abs() / master.abs()).max().item<double>(),
            1.0 / 256);
  // A rate too small for bfloat16 moves the masters all the same.
  EXPECT_FALSE(at::equal(master, low.detach().to(at::kFloat)));
}

// 300 equal gradients with beta2 = 0.999: what one adds to the second moment falls below bfloat16's
// last digit on the way, where rounding to nearest would stop. In the mean over many weights the
// moments are those of LibTorch's float32 AdamW, and so is the way the weights have gone.
TEST(AdamW, Bfloat16MomentsAreRightInTheMean) {
  const at::Tensor low = at::zeros({256, 64}, at::kBFloat16).requires_grad_(),
                   full = at::zeros({256, 64}).requires_grad_();
  OptimizerOptions options{.max_grad_norm = 0};
  AdamW floats({{"p", full}}, options);
  options.adam_moments_dtype = MomentsDtype::kBFloat16;
  AdamW narrow({{"p", low}}, options);
  for (int i = 0; i < 300; ++i) {
    low.sum().backward();
    full.sum().backward();
    narrow.step(1e-3);
    floats.step(1e-3);
  }
  const auto got = narrow.state(), want = floats.state();
  for (const size_t moment : {0, 1}) {
    const at::Tensor &a = got[moment].second, &b = want[moment].second;
    EXPECT_EQ(a.scalar_type(), at::kBFloat16) << got[moment].first;
    const double mean = b.mean().item<double>();
    EXPECT_NEAR(a.to(at::kFloat).mean().item<double>(), mean, 2e-3 * mean) << got[moment].first;
  }
  const double way = full.mean().item<double>();
  EXPECT_NEAR(low.to(at::kFloat).mean().item<double>(), way, -5e-3 * way);
}

TEST(AdamW, Bfloat16MomentsAreTheSameBitsWithAnyThreads) {
  const auto run = [](int threads) {
    at::set_num_threads(threads);
    at::manual_seed(5);
    const at::Tensor p = at::randn({300, 200}).to(at::kBFloat16).requires_grad_();
    AdamW optimizer({{"p", p}}, {.adam_moments_dtype = MomentsDtype::kBFloat16});
    for (int i = 0; i < 3; ++i) {
      (p * at::randn({300, 200}).to(at::kBFloat16)).sum().backward();
      optimizer.step(1e-2);
    }
    return optimizer.state();
  };
  const int threads = at::get_num_threads();
  const auto one = run(1), two = run(2);
  at::set_num_threads(threads);
  for (size_t i = 0; i < one.size(); ++i)
    EXPECT_TRUE(at::equal(one[i].second, two[i].second)) << one[i].first;
}

TEST(AdamW, Bfloat16MomentsOfFloat32WeightsAreRefused) {
  const at::Tensor p = at::ones({4}).requires_grad_();
  EXPECT_THROW(AdamW({{"p", p}}, {.adam_moments_dtype = MomentsDtype::kBFloat16}), core::UserError);
}

TEST(AdamW, GradientsOfBfloat16AddUpInFloat32) {
  const at::Tensor p = at::zeros({4}, at::kBFloat16).requires_grad_();
  AdamW optimizer({{"p", p}}, {.max_grad_norm = 0});
  (p * 256).sum().backward();
  EXPECT_FALSE(p.grad().defined());                // taken away at once
  for (int i = 0; i < 8; ++i) p.sum().backward();  // each lost in bfloat16: 256 + 1 = 256
  EXPECT_NEAR(optimizer.step(0.0).grad_norm, 2 * 264, 1e-3);
}

TEST(AdamW, NotANumberLeavesMastersAsTheyAre) {
  const at::Tensor p = at::ones({4}, at::kBFloat16).requires_grad_();
  AdamW optimizer({{"p", p}}, {});
  (p * NAN).sum().backward();
  EXPECT_FALSE(optimizer.step(0.1).applied);
  EXPECT_TRUE(at::equal(p.detach(), at::ones({4}, at::kBFloat16)));
  p.sum().backward();
  EXPECT_NEAR(optimizer.step(0.0).grad_norm, 2, 1e-6);  // the bad gradient is gone
}

// Save, change, restore in place: the next update has the same bits.
TEST(AdamW, StateOfMastersRestoresExactly) {
  at::manual_seed(4);
  const at::Tensor p = at::randn({300}, at::kFloat).to(at::kBFloat16).requires_grad_();
  AdamW optimizer({{"p", p}}, {.weight_decay = 0.1});
  const at::Tensor g1 = at::randn({300}).to(at::kBFloat16), g2 = at::randn({300}).to(at::kBFloat16);
  const auto update = [&](const at::Tensor& g) {
    (p * g).sum().backward();
    optimizer.step(1e-3);
  };
  update(g1);
  std::vector<at::Tensor> saved;
  for (const auto& [name, tensor] : optimizer.state()) saved.push_back(tensor.clone());
  const at::Tensor weights = p.detach().clone();
  update(g2);
  const at::Tensor want = p.detach().clone();
  update(g1);
  const at::NoGradGuard no_grad;
  p.detach().copy_(weights);
  auto state = optimizer.state();
  for (size_t i = 0; i < state.size(); ++i) state[i].second.copy_(saved[i]);
  {
    const at::AutoGradMode grad(true);
    update(g2);
  }
  EXPECT_TRUE(at::equal(p.detach(), want));
}

TEST(SumOfSquares, IsExactEnoughAndTheSameWithAnyNumberOfThreads) {
  at::manual_seed(5);
  const at::Tensor x = at::randn({300000});
  const double want = x.to(at::kDouble).square().sum().item<double>();
  const double got = sum_of_squares(x);
  EXPECT_NEAR(got, want, 1e-9 * want);
  const int threads = at::get_num_threads();
  at::set_num_threads(threads == 1 ? 2 : 1);
  EXPECT_EQ(sum_of_squares(x), got);
  at::set_num_threads(threads);
}

}  // namespace
}  // namespace ponder::policy

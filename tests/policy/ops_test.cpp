#include "policy/ops.h"

#include <limits>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/generated/variable_factories.h>

#include "core/error.h"
#include "policy/paged_attention.h"
#include "policy/rope.h"
#include "tests/support/gradients.h"

namespace ponder::policy {
namespace {

using test::check_gradients;
using test::Inputs;
using test::random_double;

TEST(RmsNorm, EqualsItsFormula) {
  const at::Tensor x = random_double({5, 7}, 1), w = random_double({7}, 2);
  const at::Tensor want = x * at::rsqrt(x.pow(2).mean(-1, true) + 1e-6) * w;
  EXPECT_TRUE(at::allclose(rms_norm(x, w, 1e-6), want, 1e-12, 1e-12));
}

TEST(RmsNorm, GradientsAreThoseOfDifferences) {
  check_gradients([](const Inputs& in) { return rms_norm(in[0], in[1], 1e-6); },
                  {random_double({5, 7}, 1), random_double({7}, 2)});
}

TEST(Rotate, KeepsLengthsAndTurnsByThePosition) {
  const auto [cos, sin] =
      rotary_tables(at::arange(4, at::kLong), rope_frequencies({.theta = 100.0}, 6));
  const at::Tensor x = random_double({4, 2, 6}, 3);
  for (const bool interleave : {true, false}) {
    const at::Tensor y = rotate(x, cos, sin, interleave);
    EXPECT_TRUE(at::allclose(y.norm(2, -1), x.norm(2, -1), 1e-6, 1e-6));
    EXPECT_TRUE(at::allclose(y[0], x[0]));  // position 0: no turn
  }
  // The first pair turns by one radian a position.
  const at::Tensor unit = at::zeros({4, 1, 6}, at::kDouble);
  unit.select(2, 0).fill_(1.0);
  const at::Tensor turned = rotate(unit, cos, sin, true);
  EXPECT_NEAR(turned[2][0][0].item<double>(), std::cos(2.0), 1e-6);
  EXPECT_NEAR(turned[2][0][1].item<double>(), std::sin(2.0), 1e-6);
}

TEST(Rotate, GradientsAreThoseOfDifferences) {
  const auto tables = rotary_tables(at::arange(3, at::kLong), rope_frequencies({.theta = 10.0}, 4));
  for (const bool interleave : {true, false}) {
    check_gradients(
        [&](const Inputs& in) { return rotate(in[0], tables.cos, tables.sin, interleave); },
        {random_double({3, 2, 4}, 4)});
  }
}

TEST(SpreadRows, GoesThereAndBack) {
  const at::Tensor order = at::tensor({3, 0, 5, 1, 4, 2}, at::kLong), inverse = at::argsort(order);
  const at::Tensor x = random_double({3, 4}, 5);
  const at::Tensor spread = spread_rows(x, order, inverse, 2);
  EXPECT_TRUE(at::equal(spread[0], x[1]));  // copy 3 belongs to row 1
  const at::Tensor weights = at::full({3, 2}, 0.5, at::kDouble);
  EXPECT_TRUE(at::allclose(gather_rows(spread, weights, order, inverse), x));
  check_gradients([&](const Inputs& in) { return spread_rows(in[0], order, inverse, 2); }, {x});
  check_gradients([&](const Inputs& in) { return gather_rows(in[0], in[1], order, inverse); },
                  {random_double({6, 4}, 6), random_double({3, 2}, 7)});
}

TEST(Swiglu, GradientsAreThoseOfDifferences) {
  check_gradients([](const Inputs& in) { return swiglu(in[0], in[1]); },
                  {random_double({3, 4}, 8), random_double({3, 4}, 9)});
}

TEST(SwigluLinear, IsSwigluThenLinear) {
  Inputs fused = {random_double({5, 4}, 8), random_double({5, 4}, 9), random_double({3, 4}, 10)},
         apart = fused;
  for (Inputs* inputs : {&fused, &apart})
    for (at::Tensor& x : *inputs) x = x.clone().requires_grad_();
  const at::Tensor got = swiglu_linear(fused[0], fused[1], fused[2]);
  const at::Tensor want = at::linear(swiglu(apart[0], apart[1]), apart[2]);
  EXPECT_TRUE(at::equal(got.detach(), want.detach()));
  const at::Tensor g = random_double({5, 3}, 11);
  (got * g).sum().backward();
  (want * g).sum().backward();
  for (size_t i = 0; i < fused.size(); ++i)
    EXPECT_TRUE(at::allclose(fused[i].grad(), apart[i].grad(), 1e-12, 1e-12));
  fused[2].requires_grad_(false);  // a frozen weight takes part all the same
  fused[0].mutable_grad() = at::Tensor();
  (swiglu_linear(fused[0], fused[1], fused[2]) * g).sum().backward();
  EXPECT_TRUE(at::allclose(fused[0].grad(), apart[0].grad(), 1e-12, 1e-12));
}

TEST(TokenLogprobs, EqualLogSoftmaxAndEntropy) {
  const at::Tensor hidden = random_double({9, 5}, 10), weight = random_double({11, 5}, 11);
  const at::Tensor targets = at::randint(0, 11, {9}, at::kLong);
  const at::Tensor logp = at::log_softmax(at::linear(hidden, weight) / 0.7, 1);
  const TokenLogprobs got = token_logprobs(hidden, weight, targets, 0.7);
  EXPECT_TRUE(at::allclose(got.logprobs, logp.gather(1, targets.unsqueeze(1)).squeeze(1)));
  EXPECT_TRUE(at::allclose(got.entropies, -(logp.exp() * logp).sum(1)));
}

TEST(TokenLogprobs, GradientsAreThoseOfDifferences) {
  const at::Tensor targets = at::tensor({2, 0, 5}, at::kLong);
  const Inputs inputs = {random_double({3, 4}, 12), random_double({6, 4}, 13)};
  check_gradients(
      [&](const Inputs& in) { return token_logprobs(in[0], in[1], targets, 0.7).logprobs; },
      inputs);
  check_gradients(
      [&](const Inputs& in) { return token_logprobs(in[0], in[1], targets, 0.7).entropies; },
      {random_double({3, 4}, 14), random_double({6, 4}, 15)});
}

// More tokens and a larger vocabulary than one block holds, in every dtype, frozen weight or not.
TEST(TokenLogprobs, ManyBlocksEqualOneSoftmax) {
  const int64_t tokens = 2100, vocabulary = 4200;
  const at::Tensor hidden = random_double({tokens, 6}, 16).requires_grad_(),
                   weight = random_double({vocabulary, 6}, 17).requires_grad_();
  const at::Tensor targets = at::randint(0, vocabulary, {tokens}, at::kLong),
                   g_logprobs = random_double({tokens}, 18),
                   g_entropies = random_double({tokens}, 19);
  const at::Tensor logp = at::log_softmax(at::linear(hidden, weight) / 0.9, 1);
  const at::Tensor want = logp.gather(1, targets.unsqueeze(1)).squeeze(1),
                   want_entropies = -(logp.exp() * logp).sum(1);
  ((want * g_logprobs).sum() + (want_entropies * g_entropies).sum()).backward();
  const struct {
    at::ScalarType dtype;
    double tolerance;
  } kinds[] = {{at::kDouble, 1e-10}, {at::kFloat, 2e-5}, {at::kBFloat16, 0.08}};
  for (const auto& kind : kinds) {
    for (const bool frozen : {false, true}) {
      SCOPED_TRACE(fmt::format("{} frozen {}", at::toString(kind.dtype), frozen));
      const at::Tensor h = hidden.detach().to(kind.dtype).requires_grad_(),
                       w = weight.detach().to(kind.dtype).requires_grad_(!frozen);
      const TokenLogprobs got = token_logprobs(h, w, targets, 0.9);
      EXPECT_LE((got.logprobs - want).abs().max().item<double>(), kind.tolerance * 10);
      EXPECT_LE((got.entropies - want_entropies).abs().max().item<double>(), kind.tolerance * 10);
      ((got.logprobs * g_logprobs.to(got.logprobs.scalar_type())).sum() +
       (got.entropies * g_entropies.to(got.entropies.scalar_type())).sum())
          .backward();
      EXPECT_LE((h.grad() - hidden.grad()).norm().item<double>(),
                kind.tolerance * hidden.grad().norm().item<double>());
      EXPECT_EQ(w.grad().defined(), !frozen);
      if (frozen) continue;
      EXPECT_LE((w.grad() - weight.grad()).norm().item<double>(),
                kind.tolerance * weight.grad().norm().item<double>());
    }
  }
}

// Kept sets of every kind: the target alone, a few, most, across blocks, none (all count).
KeptTokens some_kept(const at::Tensor& targets, int64_t vocabulary) {
  std::vector<int32_t> ids;
  std::vector<int64_t> counts;
  for (int64_t t = 0; t < targets.size(0); ++t) {
    const size_t before = ids.size();
    const auto target = targets[t].item<int64_t>(), stride = t % 4 == 2 ? 7 + t % 5 : int64_t{1};
    for (int64_t id = 0; id < vocabulary && t % 4 > 0; ++id) {
      const bool also = t % 4 != 1 && (id + t) % (stride + 1) == 0;
      if (id == target || also) ids.push_back(static_cast<int32_t>(id));
    }
    counts.push_back(static_cast<int64_t>(ids.size() - before));
  }
  return {.ids = at::tensor(ids, at::kInt), .counts = at::tensor(counts, at::kLong)};
}

// log softmax with everything that is not kept at -infinity, [tokens, vocabulary].
at::Tensor masked_log_softmax(const at::Tensor& logits, const KeptTokens& kept) {
  at::Tensor open = at::ones_like(logits, at::kBool);
  int64_t at = 0;
  for (int64_t t = 0; t < logits.size(0); ++t) {
    const auto count = kept.counts[t].item<int64_t>();
    if (count == 0) continue;
    open[t].fill_(false);
    open[t].index_fill_(0, kept.ids.narrow(0, at, count).to(at::kLong), true);
    at += count;
  }
  return at::log_softmax(
      logits.masked_fill(open.logical_not(), -std::numeric_limits<double>::infinity()), 1);
}

TEST(KeptTokens, EqualASoftmaxOverTheKeptInValuesAndGradients) {
  const int64_t tokens = 2100, vocabulary = 4200;
  const at::Tensor hidden = random_double({tokens, 6}, 20).requires_grad_(),
                   weight = random_double({vocabulary, 6}, 21).requires_grad_();
  const at::Tensor targets = at::randint(0, vocabulary, {tokens}, at::kLong),
                   g_logprobs = random_double({tokens}, 22),
                   g_entropies = random_double({tokens}, 23);
  const KeptTokens kept = some_kept(targets, vocabulary);
  const at::Tensor logp = masked_log_softmax(at::linear(hidden, weight) / 0.9, kept);
  const at::Tensor want = logp.gather(1, targets.unsqueeze(1)).squeeze(1),
                   want_entropies = -(logp.exp() * logp.clamp_min(-1e9)).sum(1);
  ((want * g_logprobs).sum() + (want_entropies * g_entropies).sum()).backward();
  const struct {
    at::ScalarType dtype;
    double tolerance;
  } kinds[] = {{at::kDouble, 1e-10}, {at::kFloat, 2e-5}, {at::kBFloat16, 0.08}};
  for (const auto& kind : kinds) {
    SCOPED_TRACE(at::toString(kind.dtype));
    const at::Tensor h = hidden.detach().to(kind.dtype).requires_grad_(),
                     w = weight.detach().to(kind.dtype).requires_grad_();
    const TokenLogprobs got = token_logprobs(h, w, targets, 0.9, kept);
    EXPECT_LE((got.logprobs - want).abs().max().item<double>(), kind.tolerance * 10);
    EXPECT_LE((got.entropies - want_entropies).abs().max().item<double>(), kind.tolerance * 10);
    ((got.logprobs * g_logprobs.to(got.logprobs.scalar_type())).sum() +
     (got.entropies * g_entropies.to(got.entropies.scalar_type())).sum())
        .backward();
    EXPECT_LE((h.grad() - hidden.grad()).norm().item<double>(),
              kind.tolerance * hidden.grad().norm().item<double>());
    EXPECT_LE((w.grad() - weight.grad()).norm().item<double>(),
              kind.tolerance * weight.grad().norm().item<double>());
  }
}

TEST(KeptTokens, GradientsAreThoseOfDifferences) {
  const at::Tensor targets = at::tensor({2, 0, 5}, at::kLong);
  const KeptTokens kept{.ids = at::tensor({1, 2, 4, 0, 2}, at::kInt),
                        .counts = at::tensor({3, 2, 0}, at::kLong)};
  check_gradients(
      [&](const Inputs& in) { return token_logprobs(in[0], in[1], targets, 0.7, kept).logprobs; },
      {random_double({3, 4}, 12), random_double({6, 4}, 13)});
  check_gradients(
      [&](const Inputs& in) { return token_logprobs(in[0], in[1], targets, 0.7, kept).entropies; },
      {random_double({3, 4}, 14), random_double({6, 4}, 15)});
}

TEST(KeptTokens, AllOfTheVocabularyIsTheSameBitsAsNoSet) {
  const at::Tensor hidden = random_double({5, 6}, 24).to(at::kFloat),
                   weight = random_double({2500, 6}, 25).to(at::kFloat),
                   targets = at::randint(0, 2500, {5}, at::kLong);
  const KeptTokens all{.ids = at::arange(2500, at::kInt).repeat({5}),
                       .counts = at::full({5}, 2500, at::kLong)};
  const TokenLogprobs with = token_logprobs(hidden, weight, targets, 1.0, all),
                      without = token_logprobs(hidden, weight, targets, 1.0);
  EXPECT_TRUE(at::equal(with.logprobs, without.logprobs));
  EXPECT_TRUE(at::equal(with.entropies, without.entropies));
}

TEST(KeptTokens, ATargetOutsideItsSetIsABug) {
  const at::Tensor hidden = random_double({1, 4}, 26), weight = random_double({6, 4}, 27);
  const KeptTokens kept{.ids = at::tensor({1, 2}, at::kInt), .counts = at::tensor({2}, at::kLong)};
  EXPECT_THROW(token_logprobs(hidden, weight, at::tensor({3}, at::kLong), 1.0, kept),
               core::InternalError);
}

// The elementwise operations in float32 and bfloat16 against float64: sizes beside vector widths.
TEST(Ops, EveryDtypeAgreesWithFloat64) {
  const auto tables =
      rotary_tables(at::arange(130, at::kLong), rope_frequencies({.theta = 100.0}, 6));
  const struct {
    const char* name;
    std::function<at::Tensor(const Inputs&)> f;
    Inputs inputs;
  } cases[] = {
      {"rms_norm",
       [](const Inputs& in) { return rms_norm(in[0], in[1], 1e-6); },
       {random_double({130, 37}, 1), random_double({37}, 2)}},
      {"swiglu",
       [](const Inputs& in) { return swiglu(in[0], in[1]); },
       {random_double({130, 37}, 3) * 4, random_double({130, 37}, 4)}},
      {"rotate",
       [&](const Inputs& in) { return rotate(in[0], tables.cos, tables.sin, true); },
       {random_double({130, 3, 6}, 5)}},
      {"rotate halves",
       [&](const Inputs& in) { return rotate(in[0], tables.cos, tables.sin, false); },
       {random_double({130, 3, 6}, 6)}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const auto run = [&](at::ScalarType dtype) {
      std::vector<at::Tensor> out;
      Inputs in;
      for (const at::Tensor& x : c.inputs) in.push_back(x.to(dtype).detach().requires_grad_());
      out.push_back(c.f(in));
      (out[0] * random_double(out[0].sizes(), 9).to(dtype)).sum().backward();
      for (const at::Tensor& x : in) out.push_back(x.grad());
      return out;
    };
    const auto want = run(at::kDouble);
    for (const auto& [dtype, tolerance] : std::vector<std::pair<at::ScalarType, double>>{
             {at::kFloat, 1e-6}, {at::kBFloat16, 0.02}}) {
      const auto got = run(dtype);
      for (size_t i = 0; i < got.size(); ++i) {
        EXPECT_EQ(got[i].scalar_type(), dtype);
        EXPECT_LE((got[i].to(at::kDouble) - want[i]).norm().item<double>(),
                  tolerance * want[i].norm().item<double>());
      }
    }
  }
}

TEST(LatentAttention, EqualsSoftmaxOverTheBlockTable) {
  at::manual_seed(30);
  const at::Tensor cache = at::randn({8 * 4, 6}), queries = at::randn({2, 3, 6});
  PagedContext context{.rows = at::tensor({1, 0}, at::kInt),
                       .lengths = at::tensor({6, 3}, at::kInt),
                       .block_table = at::tensor({2, 7, 5, 1}, at::kInt).view({2, 2}),
                       .block_size = 4};
  const at::Tensor got = latent_attention(queries, cache, context, 4, 0.3);
  const at::Tensor long_past = cache.index_select(0, at::tensor({20, 21, 22, 23, 4, 5}, at::kLong));
  const at::Tensor short_past = cache.index_select(0, at::tensor({8, 9, 10}, at::kLong));
  const auto want = [](const at::Tensor& q, const at::Tensor& past) {
    return at::mm(at::softmax(at::mm(q, past.t()) * 0.3, -1), past.narrow(1, 0, 4));
  };
  EXPECT_TRUE(at::allclose(got[0], want(queries[0], long_past), 1e-5, 1e-6));
  EXPECT_TRUE(at::allclose(got[1], want(queries[1], short_past), 1e-5, 1e-6));
}

}  // namespace
}  // namespace ponder::policy

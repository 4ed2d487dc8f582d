#include "policy/ops.h"

#include <functional>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/generated/variable_factories.h>

#include "core/error.h"
#include "policy/attention.h"
#include "policy/paged_attention.h"
#include "policy/rope.h"

namespace ponder::policy {
namespace {

using Inputs = std::vector<at::Tensor>;

at::Tensor random_double(at::IntArrayRef shape, uint64_t seed) {
  at::manual_seed(seed);
  return at::randn(shape, at::kDouble);
}

// Compares the gradients of sum(f(inputs) * random) with central differences in float64.
void check_gradients(const std::function<at::Tensor(const Inputs&)>& f, Inputs inputs,
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

TEST(TokenLogprobs, ManyChunksEqualOne) {
  // A vocabulary this large makes chunks of 32 rows.
  const at::Tensor hidden = random_double({70, 3}, 16), weight = random_double({200000, 3}, 17);
  const at::Tensor targets = at::randint(0, 200000, {70}, at::kLong);
  const at::Tensor want =
      at::log_softmax(at::linear(hidden, weight), 1).gather(1, targets.unsqueeze(1)).squeeze(1);
  EXPECT_TRUE(at::allclose(token_logprobs(hidden, weight, targets, 1.0).logprobs, want));
}

TEST(PackedAttention, EqualsEachSequenceAlone) {
  const std::vector<int32_t> cu = {0, 3, 3, 10};  // an empty sequence in between
  const at::Tensor q = random_double({10, 2, 4}, 20), k = random_double({10, 2, 4}, 21),
                   v = random_double({10, 2, 5}, 22);
  const at::Tensor got = packed_attention(q, k, v, cu, 0.5);
  for (const auto& [begin, end] : std::vector<std::pair<int64_t, int64_t>>{{0, 3}, {3, 10}}) {
    const auto part = [&, b = begin, e = end](const at::Tensor& x) {
      return x.narrow(0, b, e - b).transpose(0, 1);
    };
    at::Tensor scores = at::bmm(part(q), part(k).transpose(1, 2)) * 0.5;
    scores.masked_fill_(at::ones_like(scores, at::kBool).triu_(1), -INFINITY);
    const at::Tensor want = at::bmm(at::softmax(scores, -1), part(v)).transpose(0, 1);
    EXPECT_TRUE(at::allclose(got.narrow(0, begin, end - begin), want));
  }
}

TEST(PackedAttention, GradientsAreThoseOfDifferences) {
  check_gradients(
      [](const Inputs& in) {
        return packed_attention(in[0], in[1], in[2], {0, 2, 6}, 0.5);
      },
      {random_double({6, 2, 3}, 23), random_double({6, 2, 3}, 24), random_double({6, 2, 2}, 25)});
}

TEST(PackedAttention, LongSequencesInBlocksEqualOneSoftmax) {
  const at::Tensor q = random_double({600, 1, 4}, 26), k = random_double({600, 1, 4}, 27),
                   v = random_double({600, 1, 4}, 28);
  at::Tensor scores = at::mm(q.squeeze(1), k.squeeze(1).t());
  scores.masked_fill_(at::ones_like(scores, at::kBool).triu_(1), -INFINITY);
  EXPECT_TRUE(at::allclose(packed_attention(q, k, v, {0, 600}, 1.0).squeeze(1),
                           at::mm(at::softmax(scores, -1), v.squeeze(1))));
}

TEST(PackedAttention, RefusesBordersThatDoNotFit) {
  const at::Tensor x = random_double({4, 1, 2}, 29);
  EXPECT_THROW(packed_attention(x, x, x, {0, 3}, 1.0), core::InternalError);
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

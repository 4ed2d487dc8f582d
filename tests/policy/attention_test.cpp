#include "policy/attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/support/gradients.h"

namespace ponder::policy {
namespace {

using test::check_gradients;
using test::Inputs;
using test::random_double;

// The definition: softmax over the tokens that each may see, in float64, one matrix for all.
at::Tensor plain_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const std::vector<int32_t>& cu, double scale, int64_t window,
                           const std::vector<int32_t>& parents) {
  const int64_t tokens = q.size(0), group = q.size(1) / k.size(1);
  const at::Tensor sees = at::zeros({tokens, tokens}, at::kBool);
  for (size_t s = 0; s + 1 < cu.size(); ++s) {
    for (int64_t t = cu[s]; t < cu[s + 1]; ++t) sees[t].narrow(0, cu[s], t - cu[s] + 1).fill_(true);
    for (int32_t a = parents.empty() ? -1 : parents[s]; a >= 0; a = parents[a]) {
      sees.narrow(0, cu[s], cu[s + 1] - cu[s]).narrow(1, cu[a], cu[a + 1] - cu[a]).fill_(true);
    }
  }
  const auto heads_first = [&](const at::Tensor& x, int64_t copies) {
    return x.to(at::kDouble).repeat_interleave(copies, 1).transpose(0, 1);
  };
  if (window > 0) {
    // A token sees as many positions as its own position's number, its own included.
    const at::Tensor position = sees.sum(1);
    sees.logical_and_(position.unsqueeze(0) > position.unsqueeze(1) - window);
  }
  const at::Tensor scores =
      at::bmm(heads_first(q, 1), heads_first(k, group).transpose(1, 2)) * scale;
  return at::bmm(at::softmax(scores.masked_fill(sees.logical_not(), -INFINITY), -1),
                 heads_first(v, group))
      .transpose(0, 1);
}

struct Shape {
  const char* name;
  std::vector<int32_t> cu, parents;
  int64_t heads, kv_heads, qk_dim, v_dim;
  int64_t window = 0;
};

// Borders of tiles (64) and blocks (64) fall within, at and beside those of segments.
const Shape kShapes[] = {
    {"OneToken", {0, 1}, {}, 2, 2, 4, 4},
    {"EmptyAmongOthers", {0, 3, 3, 10}, {}, 2, 2, 4, 5},
    {"GroupedHeads", {0, 70, 90, 218}, {}, 6, 2, 16, 16},
    {"Latent", {0, 64, 129}, {}, 3, 3, 24, 20},
    {"PromptAndCompletions", {0, 70, 90, 155, 160}, {-1, 0, 0, 0}, 4, 2, 8, 8},
    {"TwoGroupsAndOneAlone", {0, 5, 9, 12, 80, 150, 151}, {-1, 0, 0, -1, -1, 4}, 3, 1, 8, 6},
    {"ChainOfTurns", {0, 40, 70, 110, 130, 131}, {-1, 0, 1, 1, 0}, 2, 1, 8, 8},
    {"WindowOfOne", {0, 3, 70}, {}, 2, 2, 4, 4, 1},
    {"Window", {0, 200, 330}, {}, 4, 2, 8, 8, 70},
    {"WindowAndPrompt", {0, 70, 200, 330}, {-1, 0, 0}, 4, 2, 8, 8, 100},
};

TEST(PackedAttention, EqualsItsDefinitionForwardAndBackward) {
  for (const Shape& s : kShapes) {
    SCOPED_TRACE(s.name);
    const int64_t tokens = s.cu.back();
    const at::Tensor q = random_double({tokens, s.heads, s.qk_dim}, 1).requires_grad_(),
                     k = random_double({tokens, s.kv_heads, s.qk_dim}, 2).requires_grad_(),
                     v = random_double({tokens, s.kv_heads, s.v_dim}, 3).requires_grad_(),
                     direction = random_double({tokens, s.heads, s.v_dim}, 4);
    const at::Tensor want = plain_attention(q, k, v, s.cu, 0.3, s.window, s.parents);
    (want * direction).sum().backward();
    const std::vector<at::Tensor> want_grads = {q.grad().clone(), k.grad().clone(),
                                                v.grad().clone()};
    const struct {
      at::ScalarType dtype;
      double tolerance;
    } kinds[] = {{at::kDouble, 1e-12}, {at::kFloat, 2e-5}, {at::kBFloat16, 0.06}};
    for (const auto& kind : kinds) {
      SCOPED_TRACE(at::toString(kind.dtype));
      Inputs in;
      for (const at::Tensor& x : {q, k, v})
        in.push_back(x.detach().to(kind.dtype).requires_grad_());
      const at::Tensor got =
          packed_attention(in[0], in[1], in[2], {s.cu, s.parents}, 0.3, s.window);
      EXPECT_EQ(got.scalar_type(), kind.dtype);
      EXPECT_LE((got.to(at::kDouble) - want).abs().max().item<double>(), kind.tolerance);
      (got * direction.to(kind.dtype)).sum().backward();
      for (size_t i = 0; i < 3; ++i) {
        const double error = (in[i].grad().to(at::kDouble) - want_grads[i]).norm().item<double>();
        EXPECT_LE(error, kind.tolerance * (1 + want_grads[i].norm().item<double>())) << i;
      }
    }
  }
}

TEST(PackedAttention, GradientsAreThoseOfDifferences) {
  check_gradients(
      [](const Inputs& in) {
        return packed_attention(in[0], in[1], in[2], {{0, 2, 6}, {}}, 0.5);
      },
      {random_double({6, 2, 3}, 23), random_double({6, 2, 3}, 24), random_double({6, 2, 2}, 25)});
}

TEST(PackedAttention, TakesStridedViews) {
  const at::Tensor both = random_double({90, 2, 12}, 5);
  const at::Tensor k = both.narrow(2, 0, 8), v = both.narrow(2, 8, 4),
                   q = random_double({90, 4, 8}, 6);
  EXPECT_TRUE(at::equal(packed_attention(q, k, v, {{0, 90}, {}}, 0.4),
                        packed_attention(q, k.contiguous(), v.contiguous(), {{0, 90}, {}}, 0.4)));
}

TEST(PackedAttention, IsTheSameInAnyBatchAndWithAnyNumberOfThreads) {
  at::manual_seed(7);
  const at::Tensor q = at::randn({300, 4, 16}), k = at::randn({300, 2, 16}),
                   v = at::randn({300, 2, 16});
  const at::Tensor all = packed_attention(q, k, v, {{0, 100, 130, 300}, {-1, 0, -1}}, 0.25);
  const auto part = [](const at::Tensor& x) { return x.narrow(0, 0, 130); };
  EXPECT_TRUE(at::equal(
      part(all), packed_attention(part(q), part(k), part(v), {{0, 100, 130}, {-1, 0}}, 0.25)));
  const int threads = at::get_num_threads();
  at::set_num_threads(threads == 1 ? 2 : 1);
  EXPECT_TRUE(at::equal(all, packed_attention(q, k, v, {{0, 100, 130, 300}, {-1, 0, -1}}, 0.25)));
  at::set_num_threads(threads);
}

TEST(PackedAttention, LargeScoresDoNotOverflow) {
  const at::Tensor q = at::full({130, 1, 4}, 100.0f), k = at::full({130, 1, 4}, 100.0f),
                   v = at::randn({130, 1, 4});
  const at::Tensor out = packed_attention(q, k, v, {{0, 130}, {}}, 1.0);
  EXPECT_TRUE(at::allclose(out[129][0], v.squeeze(1).mean(0), 1e-4, 1e-5));
}

TEST(PackedAttention, NotANumberStaysInItsSequence) {
  const at::Tensor q = at::randn({20, 1, 4}), v = at::randn({20, 1, 4});
  at::Tensor k = at::randn({20, 1, 4});
  k[3][0][0] = NAN;
  const at::Tensor out = packed_attention(q, k, v, {{0, 10, 20}, {}}, 1.0);
  EXPECT_TRUE(out[9].isnan().all().item<bool>());
  EXPECT_FALSE(out.narrow(0, 10, 10).isnan().any().item<bool>());
}

TEST(PackedAttention, RefusesBordersAndParentsThatDoNotFit) {
  const at::Tensor x = random_double({4, 1, 2}, 29);
  EXPECT_THROW(packed_attention(x, x, x, {{0, 3}, {}}, 1.0), core::InternalError);
  EXPECT_THROW(packed_attention(x, x, x, {{0, 3, 2, 4}, {}}, 1.0), core::InternalError);
  EXPECT_THROW(packed_attention(x, x, x, {{0, 2, 4}, {-1, 1}}, 1.0), core::InternalError);
  EXPECT_THROW(packed_attention(x, x, x, {{0, 2, 4}, {-1}}, 1.0), core::InternalError);
  const at::Tensor three = random_double({4, 3, 2}, 30), two = random_double({4, 2, 2}, 31);
  EXPECT_THROW(packed_attention(three, two, two, {{0, 4}, {}}, 1.0), core::InternalError);
}

}  // namespace
}  // namespace ponder::policy

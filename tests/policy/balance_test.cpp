// The balance losses against the papers' sums written out in loops.
#include "policy/balance.h"

#include <algorithm>
#include <numeric>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace ponder::policy {
namespace {

MoeLayer make_layer(Gate gate) {
  at::manual_seed(7);
  MoeLayer layer;
  layer.config = {.n_routed_experts = 6,
                  .num_experts_per_tok = 2,
                  .n_group = 3,
                  .topk_group = 2,
                  .norm_topk_prob = gate == Gate::kSigmoidBias,
                  .gate = gate};
  layer.gate = at::randn({6, 5}).requires_grad_();
  if (gate == Gate::kSigmoidBias) layer.correction_bias = at::randn({6});
  return layer;
}

// Indices of the k largest.
std::vector<int64_t> largest(const at::Tensor& row, int64_t k) {
  std::vector<int64_t> order(row.numel());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](int64_t a, int64_t b) { return row[a].item<float>() > row[b].item<float>(); });
  order.resize(k);
  return order;
}

// sum over experts of f_i P_i over tokens [begin, end); P with graph.
at::Tensor plain_loss(const MoeLayer& layer, const at::Tensor& x, int64_t begin, int64_t end) {
  const at::Tensor logits = at::matmul(x, layer.gate.t());
  const bool v3 = layer.config.gate == Gate::kSigmoidBias;
  const at::Tensor scores = v3 ? at::sigmoid(logits) : at::softmax(logits, 1);
  const Routing routing = route(layer, x);
  std::vector<double> counts(6, 0.0);
  at::Tensor p = at::zeros({6});
  const double tokens = static_cast<double>(end - begin);
  for (int64_t t = begin; t < end; ++t) {
    if (v3) {
      for (const int64_t e : largest(scores[t], 2)) counts[e] += 1;
    } else {
      for (int64_t j = 0; j < 2; ++j) counts[routing.experts[t][j].item<int64_t>()] += 1;
    }
    p = p + scores[t] / scores[t].sum() / tokens;
  }
  at::Tensor loss = at::zeros({});
  for (int64_t e = 0; e < 6; ++e) loss = loss + p[e] * (counts[e] * 6.0 / (2.0 * tokens));
  return loss;
}

void expect_same_with_gradient(MoeLayer& layer, const at::Tensor& got, const at::Tensor& want) {
  EXPECT_NEAR(got.item<double>(), want.item<double>(), 1e-5);
  got.backward();
  const at::Tensor gradient = layer.gate.grad().clone();
  layer.gate.mutable_grad().zero_();
  want.backward();
  EXPECT_GT(gradient.abs().max().item<double>(), 1e-3);
  EXPECT_TRUE(at::allclose(gradient, layer.gate.grad(), 1e-4, 1e-6));
}

TEST(BalanceLoss, OfASequenceIsThePapersSumOverItsTokens) {
  for (const Gate gate : {Gate::kSigmoidBias, Gate::kSoftmax}) {
    MoeLayer layer = make_layer(gate);
    const at::Tensor x = at::randn({12, 5});
    const at::Tensor got = balance_loss(layer, route(layer, x), {0, 5, 5, 12}, {.sequence = 1});
    expect_same_with_gradient(layer, got,
                              (plain_loss(layer, x, 0, 5) + plain_loss(layer, x, 5, 12)) / 2);
  }
}

TEST(BalanceLoss, OfABatchIsTheSumOverAllTokens) {
  for (const Gate gate : {Gate::kSigmoidBias, Gate::kSoftmax}) {
    MoeLayer layer = make_layer(gate);
    const at::Tensor x = at::randn({12, 5});
    const at::Tensor got = balance_loss(layer, route(layer, x), {0, 5, 12}, {.expert = 1});
    expect_same_with_gradient(layer, got, plain_loss(layer, x, 0, 12));
  }
}

// V2's losses of groups, eqs. 26-31, with n_group as the number of devices.
TEST(BalanceLoss, OfGroupsIsTheSumOverThem) {
  MoeLayer layer = make_layer(Gate::kSoftmax);
  const at::Tensor x = at::randn({12, 5});
  const Routing routing = route(layer, x);
  const at::Tensor p = at::softmax(at::matmul(x, layer.gate.t()), 1).mean(0);
  at::Tensor device = at::zeros({}), communication = at::zeros({});
  for (int64_t g = 0; g < 3; ++g) {
    double assigned = 0, received = 0;
    for (int64_t t = 0; t < 12; ++t) {
      bool here = false;
      for (int64_t j = 0; j < 2; ++j) {
        if (routing.experts[t][j].item<int64_t>() / 2 != g) continue;
        assigned += 1;
        here = true;
      }
      received += here ? 1 : 0;
    }
    const at::Tensor group_p = p[2 * g] + p[2 * g + 1];
    device = device + group_p * (assigned / 2 * 6.0 / (2 * 12));
    communication = communication + group_p * (received * 3.0 / (2 * 12));
  }
  const at::Tensor got = balance_loss(layer, routing, {0, 12}, {.device = 0.5, .communication = 2});
  expect_same_with_gradient(layer, got, 0.5 * device + 2 * communication);
}

TEST(BalanceLoss, IsOneWhereAllScoresAreEqualAndLargestWhereFewTakeAll) {
  const at::NoGradGuard no_grad;
  MoeLayer layer = make_layer(Gate::kSoftmax);
  layer.gate.zero_();
  const at::Tensor x = at::ones({4, 5});
  EXPECT_NEAR(balance_loss(layer, route(layer, x), {0, 4}, {.sequence = 1}).item<double>(), 1,
              1e-6);
  layer.gate[0].fill_(20);
  layer.gate[1].fill_(20);
  EXPECT_NEAR(balance_loss(layer, route(layer, x), {0, 4}, {.sequence = 1}).item<double>(), 3,
              1e-4);
}

}  // namespace
}  // namespace ponder::policy

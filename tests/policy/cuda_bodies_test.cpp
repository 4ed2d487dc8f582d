// The bodies of the CUDA kernels, compiled for the host: what their threads do, one after another,
// held to LibTorch and to the plain path.
#include <numeric>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "policy/cuda/logit_fold.h"
#include "policy/cuda/paged_body.h"
#include "policy/ops.h"
#include "policy/paged_attention.h"

namespace ponder::policy {
namespace {

// As a block of `threads` folds a row.
LogitFold fold_of_block(const float* logits, int64_t count, float factor, size_t threads) {
  std::vector<LogitFold> folds;
  for (size_t t = 0; t < threads; ++t)
    folds.push_back(
        fold_logits(logits, static_cast<int64_t>(t), static_cast<int64_t>(threads), count, factor));
  for (size_t half = threads / 2; half > 0; half /= 2) {
    for (size_t t = 0; t < half; ++t) folds[t] = merge(folds[t], folds[t + half]);
  }
  return folds[0];
}

TEST(LogitFold, BlocksOfTheVocabularyMakeTheWholeSoftmax) {
  at::manual_seed(1);
  const at::Tensor hidden = at::randn({5, 24}), weight = at::randn({1000, 24}) * 2,
                   targets = at::tensor({0, 999, 500, 255, 256}, at::kLong);
  constexpr double kTemperature = 0.7;
  const TokenLogprobs plain = token_logprobs(hidden, weight, targets, kTemperature);
  const at::Tensor logits = at::linear(hidden, weight);
  const at::Tensor reference = at::log_softmax(logits.to(at::kDouble) / kTemperature, 1);
  for (const int64_t columns : {1000, 256, 37}) {
    for (int64_t token = 0; token < 5; ++token) {
      LogitFold fold;
      for (int64_t first = 0; first < 1000; first += columns) {
        const at::Tensor piece =
            logits[token].narrow(0, first, std::min<int64_t>(columns, 1000 - first)).contiguous();
        fold = merge(fold, fold_of_block(piece.const_data_ptr<float>(), piece.numel(),
                                         static_cast<float>(1 / kTemperature), 256));
      }
      const double target = logits[token][targets[token].item<int64_t>()].item<double>();
      const double logprob = target / kTemperature - log_sum(fold);
      EXPECT_NEAR(logprob, reference[token][targets[token].item<int64_t>()].item<double>(), 1e-5);
      EXPECT_NEAR(logprob, plain.logprobs[token].item<double>(), 1e-5);
      EXPECT_NEAR(entropy(fold), plain.entropies[token].item<double>(), 1e-5);
    }
  }
}

TEST(LogitFold, ThreadsWithoutLogitsAndMinusInfinityChangeNothing) {
  const std::vector<float> logits = {1.0f, -INFINITY, 3.0f};
  const LogitFold fold = fold_of_block(logits.data(), 3, 1, 256);
  EXPECT_NEAR(log_sum(fold), std::log(std::exp(1.0) + std::exp(3.0)), 1e-6);
}

// As a block of threads attends for one head of one query.
template <typename T>
std::vector<float> attend(const HeadOfQuery<T>& view, int64_t threads) {
  std::vector<float> sums(view.value_dim), weights(threads);
  TileSoftmax softmax;
  for (int64_t first = view.first; first < view.length; first += threads) {
    const int64_t count = std::min(threads, view.length - first);
    float peak = -INFINITY;
    for (int64_t t = 0; t < count; ++t)
      peak = std::max(peak, weights[t] = key_score(view, first + t));
    const float factor = raise_peak(softmax, peak);
    for (int64_t t = 0; t < count; ++t) {
      weights[t] = std::exp(weights[t] - softmax.peak);
      softmax.total += weights[t];
    }
    for (int64_t c = 0; c < view.value_dim; ++c)
      sums[c] = sums[c] * factor + weighted_values(view, first, count, weights.data(), c);
  }
  for (float& sum : sums) sum /= softmax.total;
  return sums;
}

struct World {
  static constexpr int64_t kHeads = 4, kBlock = 16, kBlocks = 30;
  at::Tensor lengths = at::tensor({1, 17, 128, 300}, at::kInt);
  at::Tensor rows = at::tensor({0, 1, 1, 0}, at::kInt);
  PagedContext context;

  World() {
    std::vector<int> order(kBlocks);
    std::iota(order.begin(), order.end(), 0);
    std::reverse(order.begin(), order.end());
    std::vector<int> table = order;
    table.insert(table.end(), order.begin() + 7, order.end());
    table.insert(table.end(), order.begin(), order.begin() + 7);
    context = {rows, lengths, at::tensor(table, at::kInt).view({2, kBlocks}), kBlock};
  }

  PagedJob job(const at::Tensor& queries, const at::Tensor& cache) const {
    return {.queries = queries.const_data_ptr(),
            .cache = cache.const_data_ptr(),
            .rows = rows.const_data_ptr<int32_t>(),
            .lengths = lengths.const_data_ptr<int32_t>(),
            .block_table = context.block_table.const_data_ptr<int32_t>(),
            .num_queries = 4,
            .heads = kHeads,
            .width = queries.size(2),
            .stride = cache.size(1),
            .blocks = kBlocks,
            .block_size = kBlock,
            .scale = 0.2f};
  }
};

// What the kernel's blocks make of the job, against the plain path's result.
template <typename T>
void expect_equals(const PagedJob& job, const at::Tensor& plain, double tolerance) {
  for (int64_t q = 0; q < job.num_queries; ++q) {
    for (int64_t h = 0; h < job.heads; ++h) {
      const std::vector<float> got = attend(head_of_query<T>(job, q, h), 128);
      EXPECT_TRUE(at::allclose(at::tensor(got), plain[q][h].to(at::kFloat), 0, tolerance));
    }
  }
}

template <typename T>
void expect_equals_plain_path(at::ScalarType dtype, double tolerance) {
  at::manual_seed(2);
  const World world;
  const int64_t slots = World::kBlocks * World::kBlock;
  const at::Tensor queries = at::randn({4, World::kHeads, 40}).to(dtype),
                   latents = at::randn({slots, 40}).to(dtype),
                   cache = at::randn({slots, 2 * 2 * 40}).to(dtype);
  PagedJob latent = world.job(queries, latents);
  latent.value_dim = 32;
  expect_equals<T>(latent, latent_attention(queries, latents, world.context, 32, 0.2), tolerance);
  PagedJob grouped = world.job(queries, cache);
  grouped.kv_heads = 2;
  grouped.key_step = grouped.value_step = grouped.value_dim = 40;
  grouped.value_begin = 80;
  for (const int64_t window : {0, 20}) {
    grouped.window = window;
    expect_equals<T>(grouped, paged_attention(queries, cache, world.context, 2, 0.2, window),
                     tolerance);
  }
}

TEST(PagedBody, EqualsThePlainPathOverLatentsAndOverKeysAndValues) {
  expect_equals_plain_path<float>(at::kFloat, 1e-5);
  expect_equals_plain_path<Bfloat16Bits>(at::kBFloat16, 2e-2);
}

}  // namespace
}  // namespace ponder::policy

// Every architecture against transformers: log-probabilities, gradients, cached decoding, bfloat16,
// multi-token prediction, both spellings of the rope's keys, folders in and out.
#include <fstream>

#include <gmock/gmock.h>

#include "core/file.h"
#include "policy/hf_folder.h"
#include "policy/mtp_training.h"
#include "tests/policy/oracle_models.h"
#include "tests/support/temp_dir.h"

namespace ponder::policy {
namespace {

using test::Reference;

class Architectures : public test::OracleModels {};

double max_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

TEST_F(Architectures, LogProbsAgreeWithTransformers) {
  const at::NoGradGuard no_grad;
  for (const auto& folder : folders()) {
    SCOPED_TRACE(folder.filename());
    const Model model = Model::load(folder);
    const Reference reference(folder);
    const at::Tensor got =
        reference.logprobs(model.forward(reference.input), model.output_weight());
    EXPECT_LE(max_difference(got, reference.file.tensor("logprobs")), 1e-4);
  }
}

// The model's gradients against those in a folder, each relative to its largest element, and to a
// thousandth of the largest of all: a gradient that is 0 but for rounding has no direction.
void expect_gradients(const Model& model, const std::filesystem::path& folder) {
  const WeightFolder grads(folder);
  double largest = 0;
  for (const std::string& name : grads.names())
    largest = std::max(largest, grads.tensor(name).abs().max().item<double>());
  for (const Parameter& p : model.parameters()) {
    if (!p.trainable || !grads.contains(p.name)) continue;
    const at::Tensor want = grads.tensor(p.name);
    const at::Tensor got = p.tensor.grad().defined() ? p.tensor.grad() : at::zeros_like(p.tensor);
    const double scale = std::max(want.abs().max().item<double>(), 1e-3 * largest);
    EXPECT_LE(max_difference(got, want) / scale, 1e-3) << p.name;
  }
}

TEST_F(Architectures, GradientsOfEveryParameterAgree) {
  for (const auto& folder : folders()) {
    SCOPED_TRACE(folder.filename());
    const Model model = Model::load(folder);
    const Reference reference(folder);
    reference.logprobs(model.forward(reference.input), model.output_weight())
        .sum()
        .neg()
        .backward();
    expect_gradients(model, folder / "grads");
  }
}

TEST_F(Architectures, GradientsOfMultiTokenPredictionAgree) {
  int64_t checked = 0;
  for (const auto& folder : folders()) {
    const Model model = Model::load(folder);
    if (model.num_mtp() == 0) continue;
    SCOPED_TRACE(folder.filename());
    const Reference reference(folder);
    std::vector<at::Tensor> logprobs;
    for (const MtpStates& part :
         mtp_states(model, reference.input, model.forward(reference.input))) {
      const at::Tensor targets = reference.input.token_ids.index_select(0, part.targets);
      logprobs.push_back(token_logprobs(part.states, model.output_weight(), targets, 1.0).logprobs);
    }
    ASSERT_EQ(static_cast<int64_t>(logprobs.size()), model.num_mtp());
    EXPECT_LE(max_difference(at::cat(logprobs), reference.file.tensor("mtp_logprobs")), 1e-4);
    at::cat(logprobs).sum().neg().backward();
    expect_gradients(model, folder / "mtp_grads");
    ++checked;
  }
  EXPECT_EQ(checked, 2);
}

// Positions [begin, end) of one sequence through the cache, whose blocks of 4 lie in reverse.
CachedInput cached_pass(const at::Tensor& tokens, int64_t begin, int64_t end) {
  const int64_t block = 4, blocks = 8;
  const at::Tensor positions = at::arange(begin, end, at::kLong);
  const at::Tensor table = at::arange(blocks - 1, -1, -1, at::kInt).view({1, blocks});
  const at::Tensor slots =
      table[0].to(at::kLong).index_select(0, positions.floor_divide(block)) * block +
      positions.remainder(block);
  return {.token_ids = tokens.slice(0, begin, end),
          .positions = positions,
          .slots = slots,
          .context = {.rows = at::zeros({end - begin}, at::kInt),
                      .lengths = (positions + 1).to(at::kInt),
                      .block_table = table,
                      .block_size = block}};
}

TEST_F(Architectures, CachedDecodingEqualsTheFullForward) {
  const at::NoGradGuard no_grad;
  for (const auto& folder : folders()) {
    SCOPED_TRACE(folder.filename());
    const Model model = Model::load(folder);
    const Reference reference(folder);
    const at::Tensor tokens = reference.tokens(0);
    const int64_t length = tokens.size(0);
    const at::Tensor full =
        model.forward({tokens, at::arange(length, at::kLong), {0, static_cast<int32_t>(length)}});
    KvCache cache = model.make_cache(8, 4);
    std::vector<at::Tensor> parts;
    int64_t begin = 0;
    for (const int64_t chunk : {7, 1, 1, 9, 1, 3}) {  // a chunked prompt, single tokens between
      parts.push_back(model.forward_cached(cached_pass(tokens, begin, begin + chunk), cache));
      begin += chunk;
    }
    for (; begin < length; ++begin)
      parts.push_back(model.forward_cached(cached_pass(tokens, begin, begin + 1), cache));
    const auto all_logprobs = [&](const at::Tensor& hidden) {
      return at::log_softmax(at::linear(hidden, model.output_weight()), -1);
    };
    EXPECT_LE(max_difference(all_logprobs(at::cat(parts)), all_logprobs(full)), 1e-4);
  }
}

// No further from float32 than transformers in bfloat16 is, by twice and a little; a mixture's
// choice may flip there, which moves single tokens far.
TEST_F(Architectures, BfloatLogProbsAreAsCloseAsThoseOfTransformers) {
  const at::NoGradGuard no_grad;
  double ours_total = 0, theirs_total = 0;
  for (const auto& folder : folders()) {
    SCOPED_TRACE(folder.filename());
    const Model model = Model::load(folder, at::kBFloat16);
    EXPECT_EQ(model.dtype(), at::kBFloat16);
    const Reference reference(folder);
    const at::Tensor got =
        reference.logprobs(model.forward(reference.input), model.output_weight());
    EXPECT_EQ(got.scalar_type(), at::kFloat);
    const at::Tensor exact = reference.file.tensor("logprobs");
    const double ours = (got - exact).abs().mean().item<double>();
    const double theirs =
        (reference.file.tensor("bfloat16_logprobs") - exact).abs().mean().item<double>();
    EXPECT_LE(ours, 2 * theirs + 0.03);
    ours_total += ours;
    theirs_total += theirs;

    KvCache cache = model.make_cache(8, 4);
    EXPECT_EQ(cache.layers[0].scalar_type(), at::kBFloat16);
    const at::Tensor cached = model.forward_cached(cached_pass(reference.tokens(1), 0, 11), cache);
    const at::Tensor full =
        model.forward({reference.tokens(1), at::arange(11, at::kLong), {0, 11}});
    EXPECT_LE((cached - full).abs().to(at::kFloat).mean().item<double>(), 0.1);
  }
  EXPECT_LE(ours_total, 1.2 * theirs_total);
}

// A last bit more or less is an angle of 0.006 at position 100,000.
TEST_F(Architectures, RotaryFrequenciesAreTransformersToTheBit) {
  for (const auto& folder : folders()) {
    SCOPED_TRACE(folder.filename());
    const ModelConfig config = read_config(folder);
    const at::Tensor want = Reference(folder).file.tensor("frequencies");
    EXPECT_TRUE(at::equal(at::tensor(rope_frequencies(config.rope, config.rotary_dim())), want));
  }
}

TEST_F(Architectures, BothSpellingsOfTheRopeMeanTheSame) {
  for (const auto& folder : folders()) {
    SCOPED_TRACE(folder.filename());
    const ModelConfig a = read_config(folder);
    const ModelConfig b = parse_config(test::read_text(folder / "published.json"), "published");
    EXPECT_EQ(rope_frequencies(a.rope, a.rotary_dim()), rope_frequencies(b.rope, b.rotary_dim()));
    EXPECT_EQ(a.rope.attention_factor, b.rope.attention_factor);
    EXPECT_EQ(mla_scale_factor(a.rope), mla_scale_factor(b.rope));
  }
}

// Row i of depth d goes on from position i and holds token i + d + 1.
TEST_F(Architectures, MultiTokenPredictionAgreesWithTransformers) {
  const at::NoGradGuard no_grad;
  int64_t checked = 0;
  for (const auto& folder : folders()) {
    const Model model = Model::load(folder);
    if (model.num_mtp() == 0) continue;
    SCOPED_TRACE(folder.filename());
    const Reference reference(folder);
    std::vector<at::Tensor> got;
    for (int64_t depth = 0; depth < model.num_mtp(); ++depth) {
      for (int64_t s = 0; s < reference.sequences(); ++s) {
        const at::Tensor tokens = reference.tokens(s);
        at::Tensor state = model.forward({tokens,
                                          at::arange(tokens.size(0), at::kLong),
                                          {0, static_cast<int32_t>(tokens.size(0))}});
        KvCache cache = model.make_cache(8, 4, /*with_mtp=*/true);
        for (int64_t d = 0; d <= depth && tokens.size(0) > d + 1; ++d) {
          const at::Tensor ahead = tokens.slice(0, d + 1);
          const int64_t rows = ahead.size(0);
          const at::Tensor before = state.slice(0, 0, rows);
          state = model.mtp_forward(
              d, {ahead, at::arange(rows, at::kLong), {0, static_cast<int32_t>(rows)}}, before);
          const at::Tensor cached =
              model.mtp_forward_cached(d, cached_pass(ahead, 0, rows), before, cache);
          EXPECT_LE(max_difference(cached, state), 1e-4);
        }
        const int64_t count = tokens.size(0) - depth - 2;
        if (count <= 0) continue;
        got.push_back(token_logprobs(state.slice(0, 0, count), model.output_weight(),
                                     tokens.slice(0, depth + 2), 1.0)
                          .logprobs);
      }
    }
    EXPECT_LE(max_difference(at::cat(got), reference.file.tensor("mtp_logprobs")), 1e-4);
    ++checked;
  }
  EXPECT_EQ(checked, 2);
}

// What ponder writes, transformers loads: every weight is taken, none made up, equal log-probs.
TEST_F(Architectures, TransformersLoadsWhatWeSave) {
  const test::TempDir out;
  std::vector<std::string> words = {test::oracle_python(), "tests/policy/oracle/check_saved.py"};
  for (const auto& folder : folders()) {
    const auto copy = out.path() / folder.filename();
    std::filesystem::create_directories(copy);
    save_hf_folder(Model::load(folder), at::kFloat, folder, copy);
    words.push_back(copy);
    words.push_back(folder / "reference.safetensors");
  }
  const test::Outcome outcome = test::run(words);
  EXPECT_EQ(outcome.status, 0) << outcome.out << outcome.err;
}

TEST_F(Architectures, EveryLinearIsSeenByName) {
  for (const auto& folder : folders()) {
    SCOPED_TRACE(folder.filename());
    Model model = Model::load(folder);
    std::set<std::string> seen;
    model.for_each_linear([&](Linear& linear) { seen.insert(linear.name + ".weight"); });
    for (const Parameter& p : model.parameters()) {
      const bool matrix = p.tensor.dim() == 2 && p.name.find("embed_tokens") == std::string::npos &&
                          p.name != "lm_head.weight" && !p.name.ends_with("mlp.gate.weight");
      EXPECT_EQ(seen.contains(p.name), matrix) << p.name;
    }
  }
}

}  // namespace
}  // namespace ponder::policy

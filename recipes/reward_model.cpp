#include "recipes/reward_model.h"

#include <algorithm>
#include <memory>

#include <ATen/ATen.h>

#include "core/error.h"
#include "policy/body.h"
#include "policy/hf_folder.h"
#include "policy/safetensors.h"
#include "policy/tokenizer.h"

namespace ponder::recipes {
namespace {

constexpr const char* kHead = "score.weight";
constexpr int64_t kTokensMax = 8192;  // of one pass

struct RewardModel {
  policy::Model model;
  policy::Tokenizer tokenizer;
  at::Tensor head;  // [hidden]
};

at::Tensor read_head(const std::filesystem::path& folder, int64_t hidden) {
  const policy::WeightFolder weights(folder);
  const policy::TensorInfo& info = weights.info(kHead);
  const std::vector<int64_t> expected = {1, hidden};
  if (at::IntArrayRef(info.shape) != at::IntArrayRef(expected)) {
    core::throw_user(
        "{}: tensor '{}': expected shape [1, {}] (a head of one label), found {} labels",
        folder.string(), kHead, hidden, info.shape.empty() ? 0 : info.shape[0]);
  }
  return weights.tensor(kHead).to(at::kFloat).squeeze(0).clone();
}

// Tokens of a text; the special ones in front only where the text does not have them yet.
std::vector<int32_t> tokens_of(const RewardModel& rm, const std::string& text) {
  const std::vector<int32_t> plain = rm.tokenizer.encode(text);
  std::vector<int32_t> special = rm.tokenizer.encode(text, true);
  const bool has_them = !plain.empty() && plain.front() == special.front();
  std::vector<int32_t> out = has_them ? plain : std::move(special);
  const int64_t context = rm.model.config().max_position_embeddings;
  if (out.empty() || static_cast<int64_t>(out.size()) > context)
    core::throw_user("the reward model reads 1 to {} tokens, found {}", context, out.size());
  return out;
}

// Scores of the sequences [first, last), packed.
void score_packed(const RewardModel& rm, const std::vector<std::vector<int32_t>>& sequences,
                  size_t first, size_t last, std::vector<double>& out) {
  const at::NoGradGuard no_grad;
  std::vector<int64_t> ids, positions, ends;
  policy::PackedInput input;
  input.cu_seqlens.push_back(0);
  for (size_t i = first; i < last; ++i) {
    for (size_t t = 0; t < sequences[i].size(); ++t) {
      ids.push_back(sequences[i][t]);
      positions.push_back(static_cast<int64_t>(t));
    }
    input.cu_seqlens.push_back(static_cast<int32_t>(ids.size()));
    ends.push_back(static_cast<int64_t>(ids.size()) - 1);
  }
  input.token_ids = at::tensor(ids, at::kLong);
  input.positions = at::tensor(positions, at::kLong);
  const at::Tensor hidden = rm.model.forward(input).index_select(0, at::tensor(ends, at::kLong));
  const at::Tensor scores = at::mv(hidden.to(at::kFloat), rm.head);
  for (size_t i = first; i < last; ++i)
    out.push_back(scores[static_cast<int64_t>(i - first)].item<double>());
}

std::vector<double> score_texts(const RewardModel& rm, const std::vector<std::string>& texts) {
  std::vector<std::vector<int32_t>> sequences;
  for (const std::string& text : texts) sequences.push_back(tokens_of(rm, text));
  std::vector<double> out;
  for (size_t first = 0; first < sequences.size();) {
    size_t last = first, tokens = 0;
    while (last < sequences.size() &&
           (last == first || tokens + sequences[last].size() <= kTokensMax))
      tokens += sequences[last++].size();
    score_packed(rm, sequences, first, last, out);
    first = last;
  }
  return out;
}

}  // namespace

rewards::ScoreTexts load_reward_model(const std::filesystem::path& folder) {
  policy::Model model = policy::load_body(folder, kHead);
  at::Tensor head = read_head(folder, model.config().hidden_size);
  policy::Tokenizer tokenizer = policy::Tokenizer::from_folder(folder);
  policy::check_tokenizer_fits(tokenizer, model.config(), folder);
  const auto rm = std::make_shared<const RewardModel>(
      RewardModel{std::move(model), std::move(tokenizer), std::move(head)});
  return [rm](const std::vector<std::string>& texts) { return score_texts(*rm, texts); };
}

}  // namespace ponder::recipes

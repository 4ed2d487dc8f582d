#include "rewards/reward.h"

#include <utility>

#include "core/spelling.h"
#include "rewards/code.h"
#include "rewards/countdown.h"
#include "rewards/instructions.h"
#include "rewards/json_schema.h"
#include "rewards/judge_model.h"
#include "rewards/language.h"
#include "rewards/length.h"
#include "rewards/match.h"
#include "rewards/math_reward.h"
#include "rewards/model_reward.h"
#include "rewards/options.h"
#include "rewards/plugins/pool.h"
#include "rewards/r1.h"
#include "rewards/sandbox_runner.h"
#include "rewards/tags.h"

namespace ponder::rewards {
namespace {

std::unique_ptr<Reward> make_code(const RewardSpec& spec) {
  return std::make_unique<CodeReward>(read_options<CodeOptions>(spec),
                                      std::make_shared<SandboxRunner>());
}

constexpr const char* kRewardModel = "reward_model";

using Maker = std::unique_ptr<Reward> (*)(const RewardSpec&);

// A reward whose constructor takes its options.
template <typename Made, typename Options>
std::unique_ptr<Reward> make(const RewardSpec& spec) {
  return std::make_unique<Made>(read_options<Options>(spec));
}

template <typename Made>
std::unique_ptr<Reward> make(const RewardSpec& spec) {
  read_options<NoOptions>(spec);
  return std::make_unique<Made>();
}

const std::vector<std::pair<std::string, Maker>>& table() {
  static const std::vector<std::pair<std::string, Maker>> makers = {
      {"accuracy", make<AnswerTagAccuracy>},
      {"format", make<ThinkAnswerFormat>},
      {"math", make<MathReward, MathOptions>},
      {"code", make_code},
      {"countdown", make<Countdown>},
      {"think_format", make<ThinkFormat>},
      {"tag_count", make<TagCount>},
      {"boxed", make<BoxedFormat>},
      {"one_answer", make<OneAnswer>},
      {"exact_match", make<ExactMatch, ExactMatchOptions>},
      {"multiple_choice", make<MultipleChoice>},
      {"regex", make<RegexMatch, RegexOptions>},
      {"json_schema", make<JsonSchema>},
      {"instructions", make<InstructionFollowing, InstructionOptions>},
      {"language", make<LanguageConsistency, LanguageOptions>},
      {"single_language", make<SingleLanguage, SingleLanguageOptions>},
      {"overlong", make<SoftOverlong, OverlongOptions>},
      {"judge", make<JudgeModel, JudgeOptions>},
      {"cosine", make<CosineLength, CosineOptions>},
      {"repetition", make<RepetitionPenalty, RepetitionOptions>},
  };
  return makers;
}

}  // namespace

Judgement refused(std::string reason) {
  return {std::nullopt, data::ScoreStatus::kRefused, std::move(reason)};
}

std::vector<Judgement> Reward::judge_all(std::span<const Sample> samples) const {
  std::vector<Judgement> out;
  for (const Sample& sample : samples) {
    try {
      out.push_back(judge(*sample.prompt, *sample.completion));
    } catch (const std::exception& error) {
      out.push_back({std::nullopt, data::ScoreStatus::kCrashed, error.what()});
    }
  }
  return out;
}

std::string Reward::problem_with(const data::Prompt&) const {
  return {};
}

std::map<std::string, double> Reward::metrics() const {
  return {};
}

RewardSpec parse_spec(const std::string& spec) {
  const size_t open = spec.ends_with('}') ? spec.find('{') : std::string::npos;
  if (open == std::string::npos) return {spec, "{}"};
  return {spec.substr(0, open), spec.substr(open)};
}

std::string part_name(const std::string& spec) {
  const std::string name = parse_spec(spec).name;
  return names_plugin(name) ? name.substr(name.rfind('/') + 1) : name;
}

std::vector<std::string> reward_names() {
  std::vector<std::string> names;
  for (const auto& [name, maker] : table()) names.push_back(name);
  names.push_back(kRewardModel);
  return names;
}

std::unique_ptr<Reward> make_reward(const std::string& spec, const LoadRewardModel& load_model) {
  const RewardSpec parsed = parse_spec(spec);
  if (parsed.name == kRewardModel)
    return std::make_unique<ModelReward>(read_options<RewardModelOptions>(parsed), load_model);
  for (const auto& [known, maker] : table()) {
    if (known == parsed.name) return maker(parsed);
  }
  if (names_plugin(parsed.name)) return make_plugin(parsed);
  core::throw_user("unknown reward '{}'{}", parsed.name,
                   core::suggestion(parsed.name, reward_names()));
}

}  // namespace ponder::rewards

#include "data/records_json.h"

namespace ponder::data {
namespace {

template <typename Enum>
Enum from_name(const std::string& name, std::initializer_list<Enum> values) {
  for (const Enum value : values) {
    if (name == name_of(value)) return value;
  }
  throw Json::other_error::create(501, "unknown word '" + name + "'", nullptr);
}

Json to_json(const Prompt& prompt) {
  return {{"id", prompt.id},         {"text", prompt.text},       {"token_ids", prompt.token_ids},
          {"answer", prompt.answer}, {"rewards", prompt.rewards}, {"columns", prompt.columns}};
}

Prompt prompt_from(const Json& json) {
  Prompt prompt;
  json.at("id").get_to(prompt.id);
  json.at("text").get_to(prompt.text);
  json.at("token_ids").get_to(prompt.token_ids);
  prompt.answer = json.at("answer");
  json.at("rewards").get_to(prompt.rewards);
  prompt.columns = json.at("columns");
  return prompt;
}

Json to_json(const Completion& completion) {
  return {{"text", completion.text},
          {"finish_reason", name_of(completion.finish_reason)},
          {"policy_version", completion.policy_version}};
}

Completion completion_from(const Json& json) {
  Completion completion;
  json.at("text").get_to(completion.text);
  completion.finish_reason = from_name(
      json.at("finish_reason").get<std::string>(),
      {FinishReason::kStop, FinishReason::kLength, FinishReason::kAborted, FinishReason::kPaused});
  json.at("policy_version").get_to(completion.policy_version);
  return completion;
}

Json to_json(const Score& score) {
  return {{"value", score.value ? Json(*score.value) : Json()},
          {"parts", score.parts},
          {"status", name_of(score.status)},
          {"reason", score.reason}};
}

Score score_from(const Json& json) {
  Score score;
  if (!json.at("value").is_null()) score.value = json.at("value").get<double>();
  json.at("parts").get_to(score.parts);
  score.status = from_name(json.at("status").get<std::string>(),
                           {ScoreStatus::kOk, ScoreStatus::kWrong, ScoreStatus::kUnparsed,
                            ScoreStatus::kTimeout, ScoreStatus::kCrashed, ScoreStatus::kRefused});
  json.at("reason").get_to(score.reason);
  return score;
}

}  // namespace

Json to_json(const ScoredGroup& group) {
  Json completions = Json::array(), scores = Json::array();
  for (const Completion& completion : group.group.completions)
    completions.push_back(to_json(completion));
  for (const Score& score : group.scores) scores.push_back(to_json(score));
  return {{"prompt", to_json(group.group.prompt)},
          {"completions", std::move(completions)},
          {"scores", std::move(scores)}};
}

ScoredGroup scored_group_from(const Json& json) {
  Group group{.prompt = prompt_from(json.at("prompt")), .completions = {}};
  for (const Json& completion : json.at("completions"))
    group.completions.push_back(completion_from(completion));
  std::vector<Score> scores;
  for (const Json& score : json.at("scores")) scores.push_back(score_from(score));
  return {std::move(group), std::move(scores)};
}

}  // namespace ponder::data

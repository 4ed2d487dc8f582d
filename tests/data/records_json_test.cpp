#include "data/records_json.h"

#include <gtest/gtest.h>

namespace ponder::data {
namespace {

ScoredGroup a_group() {
  Group group;
  group.prompt = {.id = "p",
                  .text = "2+2=",
                  .token_ids = {5, 6, 7},
                  .answer = Json::parse(R"({"value": [4, "four"]})"),
                  .rewards = {"math"},
                  .columns = {{"domain", "sums"}, {"level", 3}}};
  Completion done, cut;
  done.text = "4 \u2713";
  done.finish_reason = FinishReason::kStop;
  done.policy_version = 12;
  cut.finish_reason = FinishReason::kLength;
  cut.policy_version = 13;
  group.completions = {done, cut};
  std::vector<Score> scores(2);
  scores[0] = {.value = 0.1 + 0.2,
               .parts = {{"math", 1.0}, {"length", -1.0 / 3}},
               .status = ScoreStatus::kOk,
               .reason = "right"};
  scores[1] = {
      .value = std::nullopt, .parts = {}, .status = ScoreStatus::kTimeout, .reason = "5 s"};
  return {group, scores};
}

TEST(RecordsJson, GroupsComeBackAsTheyWere) {
  const ScoredGroup before = a_group();
  const ScoredGroup after = scored_group_from(Json::parse(to_json(before).dump()));
  EXPECT_EQ(after.group.prompt.id, before.group.prompt.id);
  EXPECT_EQ(after.group.prompt.text, before.group.prompt.text);
  EXPECT_EQ(after.group.prompt.token_ids, before.group.prompt.token_ids);
  EXPECT_EQ(after.group.prompt.answer, before.group.prompt.answer);
  EXPECT_EQ(after.group.prompt.rewards, before.group.prompt.rewards);
  EXPECT_EQ(after.group.prompt.columns, before.group.prompt.columns);
  ASSERT_EQ(after.scores.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(after.group.completions[i].text, before.group.completions[i].text);
    EXPECT_EQ(after.group.completions[i].finish_reason, before.group.completions[i].finish_reason);
    EXPECT_EQ(after.group.completions[i].policy_version,
              before.group.completions[i].policy_version);
    EXPECT_EQ(after.scores[i].value, before.scores[i].value);  // the same double, bit for bit
    EXPECT_EQ(after.scores[i].parts, before.scores[i].parts);
    EXPECT_EQ(after.scores[i].status, before.scores[i].status);
    EXPECT_EQ(after.scores[i].reason, before.scores[i].reason);
  }
}

TEST(RecordsJson, DamageIsAJsonError) {
  for (const char* path : {"/prompt/id", "/scores/0/status", "/completions/1/finish_reason"}) {
    Json json = to_json(a_group());
    json[Json::json_pointer(path)] = "nonsense";
    if (std::string(path) == "/prompt/id") json[Json::json_pointer(path)] = 7;
    EXPECT_THROW(scored_group_from(json), Json::exception) << path;
  }
}

}  // namespace
}  // namespace ponder::data

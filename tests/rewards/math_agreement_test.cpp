// The checker against labelled sets: graders' own tests, paraphrases and near misses whose labels
// are certain by construction, and real completions. The labels come with the sets; nothing here
// was printed by the checker.
#include <algorithm>
#include <cstdio>

#include "tests/rewards/math_cases.h"

namespace ponder::rewards {
namespace {

bool is_agreement_set(const std::filesystem::path& path) {
  const std::string stem = path.stem().string();
  return path.extension() == ".jsonl" && !stem.starts_with("adversarial") &&
         !stem.starts_with("format_cases");
}

// A case without a label, a doubtful one, or one of another task.
bool is_unscored(const nlohmann::json& entry) {
  return !entry["expected"].is_boolean() || entry.value("dubious", false) ||
         entry.value("kind", "compare") != "compare";
}

MathOptions options_of(const nlohmann::json& entry) {
  MathOptions options;
  if (!entry.contains("config")) return options;
  options.strict = entry["config"].value("strict", options.strict);
  options.float_rounding = entry["config"].value("float_rounding", options.float_rounding);
  options.allow_set_relation_comp =
      entry["config"].value("allow_set_relation_comp", options.allow_set_relation_comp);
  return options;
}

TEST(MathAgreement, EachLabelledSetAgreesInNinetyNineOfHundred) {
  int scored = 0, wrong_accepts = 0, total_negative = 0;
  std::vector<std::filesystem::path> files;
  for (const auto& file : std::filesystem::directory_iterator(math_cases_dir())) {
    if (is_agreement_set(file.path())) files.push_back(file.path());
  }
  std::sort(files.begin(), files.end());
  ASSERT_FALSE(files.empty()) << math_cases_dir();
  for (const auto& file : files) {
    int count = 0, agreed = 0;
    std::string misses;
    for (const auto& entry : read_json_lines(file)) {
      if (is_unscored(entry)) continue;
      const std::string answer = entry["answer"], gold = entry["gold"];
      const MathVerdict verdict = check_math(answer, gold, options_of(entry));
      const bool right = verdict.status == MathStatus::kRight, expected = entry["expected"];
      ++count;
      agreed += right == expected;
      total_negative += !expected;
      wrong_accepts += right && !expected;
      if (right != expected) {
        misses += "\n  " + entry.value("id", "?") + " expected " + (expected ? "right" : "wrong") +
                  ": " + verdict.reason;
      }
    }
    if (count == 0) continue;
    scored += count;
    const double share = static_cast<double>(agreed) / count;
    std::printf("[          ] %-28s %5d of %5d  %.2f %%\n", file.stem().c_str(), agreed, count,
                100 * share);
    EXPECT_GE(share, 0.99) << file.stem() << misses;
  }
  EXPECT_GT(scored, 100);
  EXPECT_LE(wrong_accepts * 1000, total_negative) << wrong_accepts << " wrong accepts";
}

TEST(MathAgreement, EveryGoldOfTheSetsCanBeRead) {
  for (const char* name : {"math500", "math_subset1200", "paraphrase"}) {
    const auto path = math_cases_dir() / (std::string(name) + ".jsonl");
    if (!std::filesystem::exists(path)) continue;
    for (const auto& entry : read_json_lines(path)) {
      const std::string gold = entry["gold"];
      const MathVerdict verdict = check_gold(gold);
      EXPECT_EQ(verdict.status, MathStatus::kRight) << gold << ": " << verdict.reason;
    }
  }
}

}  // namespace
}  // namespace ponder::rewards

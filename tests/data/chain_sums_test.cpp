#include "data/chain_sums.h"

#include <regex>
#include <set>

#include <gtest/gtest.h>

#include "data/tasks.h"

namespace ponder::data {
namespace {

// Left to right, by a reader of its own.
int evaluate(const std::string& expression) {
  static const std::regex term("[+-]?[0-9]+");
  int total = 0;
  for (std::sregex_iterator it(expression.begin(), expression.end(), term), end; it != end; ++it)
    total += std::stoi(it->str());
  return total;
}

TEST(ChainSum, ProblemsKeepTheRules) {
  std::set<int64_t> lengths;
  for (int64_t i = 0; i < 2000; ++i) {
    core::Rng rng(3, i);
    const ChainSum sum = draw_chain_sum(rng, {.min_terms = 4, .max_terms = 7}, Split::kTrain);
    lengths.insert(static_cast<int64_t>(sum.terms.size()));
    std::set<int> digits;
    int value = 0;
    for (const int term : sum.terms) {
      EXPECT_TRUE(digits.insert(std::abs(term)).second);
      EXPECT_GE(std::abs(term), 1);
      EXPECT_LE(std::abs(term), 9);
      value += term;
      EXPECT_GE(value, 0);
      EXPECT_LE(value, 60);
    }
    EXPECT_EQ(evaluate(sum.expression()), value);
    EXPECT_EQ(sum.value(), value);
  }
  EXPECT_EQ(lengths, (std::set<int64_t>{4, 5, 6, 7}));
}

TEST(ChainSum, StepsAreWrittenAsTheyAreReckoned) {
  EXPECT_EQ(chain_steps({{7, 5, -3, 8}}), "7+5=12;12-3=9;9+8=17");
  EXPECT_EQ(chain_sum_prompt({{7, 5, -3}}).text, "User: 7+5-3=?\nAssistant:");
  EXPECT_EQ(chain_sum_prompt({{7, 5, -3}}).answer, 9);
}

TEST(ChainSum, HeldOutProblemsAreNeverTrainedOn) {
  std::set<std::string> held_out;
  for (const Prompt& prompt : held_out_problems("chain_sums", 0, 500, {})) {
    EXPECT_TRUE(is_held_out(prompt.id));
    EXPECT_TRUE(held_out.insert(prompt.id).second);
  }
  for (int64_t i = 0; i < 3000; ++i) {
    EXPECT_FALSE(held_out.contains(task_problem("chain_sums", 1, i, {}, Split::kTrain).id));
    const std::string text = corpus_document(1, i, {}).text;
    static const std::regex head("(?:User: |page: )([0-9+-]+)");
    std::smatch match;
    if (std::regex_search(text, match, head)) EXPECT_FALSE(is_held_out(match[1])) << text;
  }
}

TEST(ChainSum, AFewPercentOfAllAreHeldOut) {
  int held_out = 0;
  for (int64_t i = 0; i < 5000; ++i) {
    core::Rng rng(9, i);
    ChainSum sum;
    for (int t = 0; t < 5; ++t) sum.terms.push_back(static_cast<int>(rng.integer(1, 9)));
    held_out += is_held_out(sum.expression());
  }
  EXPECT_NEAR(held_out / 5000.0, 0.1, 0.02);
}

TEST(ChainSum, NumberAndSeedMakeTheProblem) {
  EXPECT_EQ(task_problem("chain_sums", 1, 5, {}, Split::kTrain).id,
            task_problem("chain_sums", 1, 5, {}, Split::kTrain).id);
  EXPECT_NE(task_problem("chain_sums", 1, 5, {}, Split::kTrain).id,
            task_problem("chain_sums", 1, 6, {}, Split::kTrain).id);
  EXPECT_NE(task_problem("chain_sums", 1, 5, {}, Split::kTrain).id,
            task_problem("chain_sums", 2, 5, {}, Split::kTrain).id);
}

TEST(Corpus, HasTheKindsInTheirShares) {
  const CorpusOptions options;
  std::map<std::string, int> kinds;
  const int n = 20000;
  for (int64_t i = 0; i < n; ++i) {
    const std::string text = corpus_document(1, i, options).text;
    if (text.starts_with("Maths page"))
      ++kinds["worked"];
    else if (text.starts_with("Facts"))
      ++kinds["facts"];
    else if (std::regex_search(
                 text, std::regex("Assistant:<think>[a-z ]*</think><answer>[0-9]+</answer>$")))
      ++kinds["direct"];
    else if (std::regex_search(
                 text, std::regex("Assistant:<think>[0-9].*</think><answer>[0-9]+</answer>$")))
      ++kinds["steps"];
  }
  EXPECT_NEAR(kinds["worked"] / double(n), options.worked, 0.01);
  EXPECT_NEAR(kinds["facts"] / double(n), options.facts, 0.01);
  EXPECT_NEAR(kinds["direct"] / double(n), options.direct, 0.01);
  EXPECT_NEAR(kinds["steps"] / double(n), options.steps, 0.01);
}

TEST(Corpus, PromptBytesEndBehindTheQuestion) {
  for (int64_t i = 0; i < 200; ++i) {
    const Document document = corpus_document(1, i, {});
    const bool chat = document.text.starts_with("User:");
    EXPECT_EQ(document.prompt_bytes > 0, chat);
    if (chat) EXPECT_TRUE(document.text.substr(0, document.prompt_bytes).ends_with("Assistant:"));
  }
}

TEST(Corpus, WithoutSlipsEveryStepIsRight) {
  CorpusOptions options;
  options.slip = 0;
  static const std::regex step("([0-9]+)([+-])([0-9]+)=([0-9]+)");
  int steps = 0;
  for (int64_t i = 0; i < 1000; ++i) {
    const std::string text = corpus_document(2, i, options).text;
    for (std::sregex_iterator it(text.begin(), text.end(), step), end; it != end; ++it, ++steps) {
      const int a = std::stoi((*it)[1]), b = std::stoi((*it)[3]), c = std::stoi((*it)[4]);
      EXPECT_EQ((*it)[2] == "+" ? a + b : a - b, c) << text;
    }
  }
  EXPECT_GT(steps, 1000);
}

}  // namespace
}  // namespace ponder::data

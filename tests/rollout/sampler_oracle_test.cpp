// The distribution that a token is drawn from, against transformers' logits processors.
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include <gtest/gtest.h>

#include "core/random.h"
#include "rollout/sampler.h"
#include "tests/support/process.h"

namespace ponder::rollout {
namespace {

using Json = nlohmann::json;

struct Case {
  std::vector<float> logits;
  std::vector<int32_t> prompt, completion;
  TokenRule rule;
  Json rule_json = Json::object();
};

Case random_case(core::Rng& rng) {
  Case out;
  const int64_t vocabulary = rng.integer(5, 300);
  for (int64_t i = 0; i < vocabulary; ++i)
    out.logits.push_back(static_cast<float>(3 * rng.normal()));
  const auto id = [&] { return static_cast<int32_t>(rng.integer(0, vocabulary - 1)); };
  for (int64_t i = rng.integer(1, 20); i > 0; --i) out.prompt.push_back(id());
  for (int64_t i = rng.integer(0, 20); i > 0; --i) out.completion.push_back(id());
  const auto maybe = [&](const char* name, auto& field, auto value) {
    if (!rng.chance(0.4)) return;
    field = value;
    out.rule_json[name] = value;
  };
  maybe("temperature", out.rule.temperature, 0.3 + 1.5 * rng.uniform());
  maybe("top_k", out.rule.top_k, rng.integer(1, vocabulary + 5));
  maybe("top_p", out.rule.top_p, 0.05 + 0.94 * rng.uniform());
  maybe("min_p", out.rule.min_p, 0.3 * rng.uniform());
  maybe("repetition_penalty", out.rule.repetition_penalty, 0.7 + rng.uniform());
  if (rng.chance(0.3)) {
    for (int i = 0; i < 3; ++i) {
      const int32_t token = id();
      out.rule.logit_bias[token] = static_cast<float>(8 * rng.normal());
      out.rule_json["logit_bias"][std::to_string(token)] = out.rule.logit_bias[token];
    }
  }
  if (rng.chance(0.3)) {
    out.rule.bad_words = {{id()}, {id(), id()}};
    // One that is about to be completed.
    std::vector<int32_t> past = out.prompt;
    past.insert(past.end(), out.completion.begin(), out.completion.end());
    if (past.size() >= 2) out.rule.bad_words.push_back({past[past.size() - 2], past.back(), id()});
    out.rule_json["bad_words"] = out.rule.bad_words;
  }
  return out;
}

TEST(SamplingDistribution, IsTransformers) {
  if (test::oracle_python().empty()) GTEST_SKIP() << "PONDER_ORACLE_PYTHON is not set";
  core::Rng rng(17, 1);
  std::vector<Case> cases;
  const test::TempDir folder;
  std::ofstream file(folder.path() / "cases");
  for (int i = 0; i < 400; ++i) {
    cases.push_back(random_case(rng));
    const Case& c = cases.back();
    file << Json{{"logits", c.logits},
                 {"prompt", c.prompt},
                 {"completion", c.completion},
                 {"rule", c.rule_json}}
         << "\n";
  }
  file.close();
  const test::Outcome outcome =
      test::run({"/bin/sh", "-c", "\"$0\" tests/rollout/processors.py < \"$1\"",
                 test::oracle_python(), (folder.path() / "cases").string()});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  std::istringstream lines(outcome.out);
  size_t count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const Case& c = cases.at(count);
    SCOPED_TRACE(c.rule_json.dump());
    const auto want = Json::parse(line)["probs"].get<std::vector<double>>();
    const auto got =
        sampling_distribution(c.logits, c.rule, {.prompt = c.prompt, .completion = c.completion});
    double difference = 0;
    for (size_t i = 0; i < want.size(); ++i) difference += std::abs(want[i] - got[i]);
    EXPECT_LE(difference, 1e-5) << "case " << count;
  }
  EXPECT_EQ(count, cases.size());
}

}  // namespace
}  // namespace ponder::rollout

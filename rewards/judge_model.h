// A language model as judge, behind any OpenAI-compatible server (vLLM, SGLang, `ponder serve`).
#pragma once

#include <atomic>
#include <mutex>
#include <string>

#include "core/recipe.h"
#include "rewards/reward.h"

namespace re2 {
class RE2;
}
namespace ponder::core {
class HttpClient;
}

namespace ponder::rewards {

struct JudgeOptions {
  // Changes what is judged.
  std::string url = "http://127.0.0.1:8000/v1";  // /chat/completions is asked below it
  std::string model = "judge";                   // as the server names it
  std::string prompt_file;  // a text with {prompt}, {completion} and {answer}; empty: our own
  std::string pattern =
      R"((?i)\bscore\b[^\w-]*(-?\d+(?:\.\d+)?))";  // RE2; its last match's first group is the score
  double low = 0, high = 10;                       // scores outside are no verdicts
  double ok_from = 0.5;                            // the status is ok from this reward on
  int64_t max_tokens = 512;
  double temperature = 0;
  std::string key_env = "OPENAI_API_KEY";  // the environment variable with the server's key
  // Changes only how long it takes.
  int64_t retries = 3;      // more attempts after a failure
  double deadline_s = 120;  // of one attempt
  int64_t requests = 16;    // at a time
};
void bind(core::Binder& b, JudgeOptions& o);

// The reward is (score - low) / (high - low). A server that cannot be reached, refuses, is late, or
// answers without a score after all attempts gives no value (crashed, timeout), never 0. What the
// completion says stands between markers that it cannot contain, so that it cannot end them.
class JudgeModel : public Reward {
 public:
  // Throws UserError: a malformed URL or pattern, a pattern without a group, a prompt file that is
  // missing or lacks {completion}, low not below high. Asks no server.
  explicit JudgeModel(const JudgeOptions& options);
  ~JudgeModel() override;
  Judgement judge(const data::Prompt& prompt, const data::Completion& completion) const override;
  std::vector<Judgement> judge_all(std::span<const Sample> samples) const override;
  std::map<std::string, double> metrics() const override;  // requests, retries, failures, seconds

 private:
  std::string request_body(const data::Prompt& prompt, const data::Completion& completion) const;
  Judgement attempt(core::HttpClient& client, const std::string& body, bool* again) const;
  Judgement verdict(const std::string& reply) const;

  JudgeOptions options_;
  std::string template_, key_;
  std::unique_ptr<re2::RE2> pattern_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, double> metrics_;  // guarded by mutex_
};

}  // namespace ponder::rewards

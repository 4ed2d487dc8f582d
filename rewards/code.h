// The code reward: the program in a completion against the tests in the prompt's answer. Knows the
// forms in which data sets write tests; how a program is run, and what keeps it from doing harm, is
// a CodeRunner's business.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/recipe.h"
#include "rewards/reward.h"

namespace ponder::rewards {

// One program and its tests, as a runner takes them. Either `cases` (stdin and stdout) or
// `assertions` is filled.
struct CodeJob {
  struct Case {
    std::string input, output;
  };
  std::string language = "python";
  std::string code;
  std::vector<Case> cases;
  std::string entry_point;  // of function tests: the function under test
  std::string assertions;   // Python that calls it: assert statements or check(candidate)
  std::string setup;        // Python that runs before them
  std::string helpers;      // of `setup`: what the prompt's text gives
  std::string pairs_json;   // or [[[arguments...], expected], ...]
  data::Json limits = data::Json::object();  // the answer's, as it came
};

// What came of it: one entry a case, or one for all assertions (a pair each where pairs_json is
// given). `runner_failed`: the machine or the runner, not the program: no reward is drawn from it,
// not even 0.
struct CodeResult {
  struct Test {
    std::string
        verdict;  // "AC": ended well (a function test: passed); "WA", "TLE", "MLE", "RE", "CE" ...
    std::string output;  // of a case that ended well: its stdout
  };
  std::vector<Test> tests;
  bool runner_failed = false;
  std::string reason;
};

class CodeRunner {
 public:
  virtual ~CodeRunner() = default;
  // Thread-safe. Outputs are compared by the caller. `stop_early`: tests behind the first that is
  // not AC may be left out.
  virtual CodeResult run(const CodeJob& job, bool stop_early) const = 0;
  // Why no program can be run for this job (its limits, its language), or "".
  virtual std::string problem_with(const CodeJob&) const { return {}; }
};

// The forms of `answer` that are read, as an object or as its JSON text:
//   {"language", "test_cases": [{"input", "output"}]}                 open-r1's verification_info;
//   also {"fn_name", "type": "function_call"}
//   {"language", "tests": assert code or check(candidate), "entry_point"}  HumanEval, MBPP;
//   "test_list" for "tests" too; "setup" is Python that runs before them
//   {"inputs": [...], "outputs": [...], "fn_name"?}                   APPS, TACO
//   {"public_test_cases": [...], "metadata": {"func_name"}?}          LiveCodeBench
// each with optional "limits". Function tests may call helpers that the prompt's text defines
// beside the function to write (HumanEval/32's poly): they run as the set-up, so that a completion
// cannot bring its own to pass; where it does bring its own, the tests must pass with those too.
// Throws std::invalid_argument.
CodeJob code_job(const data::Json& answer, std::string_view prompt = {});

// Whether `got` holds the tokens of `expected`: parts between white space, byte by byte.
bool same_tokens(std::string_view got, std::string_view expected);

struct CodeOptions {
  bool fraction = false;  // the share of tests that pass, else 1 only where all do
};
void bind(core::Binder& b, CodeOptions& o);

// The program is the last fenced block of the language behind the reasoning. A completion
// without any fence is a program as a whole, or, where the prompt begins the function and the
// completion does not, the two together (HumanEval's continuations). The tests are the prompt's
// `answer`, else its column `verification_info`.
class CodeReward : public Reward {
 public:
  CodeReward(const CodeOptions& options, std::shared_ptr<const CodeRunner> runner);
  Judgement judge(const data::Prompt& prompt, const data::Completion& completion) const override;
  std::string problem_with(const data::Prompt& prompt) const override;

 private:
  static const data::Json& tests_of(const data::Prompt& prompt);
  CodeResult run(const CodeJob& job) const;
  Judgement verdict_of(const CodeJob& job, CodeResult& result) const;

  CodeOptions options_;
  std::shared_ptr<const CodeRunner> runner_;
};

}  // namespace ponder::rewards

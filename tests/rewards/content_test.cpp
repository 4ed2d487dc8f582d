// The built-in rewards that look at content: language, JSON schema, instructions, code, signs of
// hacking.
#include <sstream>
#include <stdexcept>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "rewards/code.h"
#include "rewards/fence.h"
#include "rewards/hacks.h"
#include "rewards/instructions.h"
#include "rewards/json_schema.h"
#include "rewards/language.h"
#include "tests/rewards/support.h"

namespace ponder::rewards {
namespace {

using data::Json;
using data::ScoreStatus;
using ::testing::HasSubstr;

double share(const std::string& spec, const std::string& text, Json columns = Json::object()) {
  return make_reward(spec)
      ->judge(prompt_with(nullptr, "", std::move(columns)), stopped(text))
      .value.value();
}

TEST(Language, CountsTheChainOfThought) {
  const char* const kEnglish =
      "<think>We have the sum of two numbers, so the answer is seven. Let us check it with $x_1 = "
      "\\frac{3}{4}$.</think>7";
  const char* const kGerman =
      "<think>Wir haben die Summe von zwei Zahlen, also ist die Antwort sieben und nicht "
      "acht.</think>7";
  const char* const kChinese =
      "<think>\xE6\x88\x91\xE4\xBB\xAC\xE5\x85\x88\xE8\xAE\xA1\xE7\xAE\x97\xE3\x80\x82</think>7";
  EXPECT_EQ(share("language", kEnglish), 1.0);
  EXPECT_EQ(share("language{target = 'zh'}", kChinese), 1.0);
  EXPECT_EQ(share("language", kChinese), 0.0);
  EXPECT_EQ(share("language{target = 'zh'}", kEnglish), 0.0);
  EXPECT_EQ(share("language", kGerman), 0.0);
  EXPECT_EQ(share("language{target = 'de'}", kGerman), 1.0);
  EXPECT_EQ(share("language{mode = 'script'}", kGerman), 1.0);
  EXPECT_EQ(share("language", kGerman, {{"language", "de"}}), 1.0);
  EXPECT_EQ(share("language", "<think>1 + 2 = 3</think>"), 1.0);
  EXPECT_EQ(share("language", "<think>we add \xE4\xB8\xA4\xE4\xB8\xAA</think>"),
            0.5);  // two words, two characters
  EXPECT_EQ(make_reward("language")
                ->judge(prompt_with(nullptr, "", {{"language", "xx"}}), stopped("a"))
                .status,
            ScoreStatus::kRefused);
}

TEST(Language, WhatIsNoProseDoesNotCount) {
  const auto counts =
      language_words("<b> \\alpha 12 x ```der die das``` the sum", LanguageMode::kWords);
  EXPECT_EQ(counts, (std::map<std::string, size_t>{{"en", 2}}));
  EXPECT_EQ(language_words("\xE3\x81\x93\xE3\x82\x8C\xE3\x81\xAF\xE6\x95\xB0", LanguageMode::kWords)
                .count("ja"),
            1u);
}

TEST(SingleLanguage, FindsMixtures) {
  EXPECT_EQ(share("single_language", "The sum of the two is seven."), 1.0);
  EXPECT_EQ(
      share("single_language",
            "The sum is \xE4\xB8\x83\xE3\x80\x82\xE6\x88\x91\xE4\xBB\xAC\xE7\xAE\x97\xE5\xAE\x8C"),
      0.0);
  EXPECT_EQ(share("single_language",
                  "The sum of the two is seven. Das ist nicht so, wir haben acht und neun."),
            0.0);
  EXPECT_EQ(share("single_language", ""), 1.0);
}

TEST(Fence, TheLastBlockOfTheLanguageCounts) {
  const std::vector<std::string> python = {"python", "py"};
  EXPECT_EQ(last_fenced("```python\nprint(1)\n```", python), "print(1)\n");
  EXPECT_EQ(last_fenced("Text\n```python\na=1\n```\nmore\n```python\nb=2\n```", python), "b=2\n");
  EXPECT_EQ(last_fenced("<think>```python\nwrong()\n```</think>\n```python\nright()\n```", python),
            "right()\n");
  EXPECT_EQ(last_fenced("```Python3\nprint(1)\n```", python), "print(1)\n");
  EXPECT_EQ(last_fenced("```\nx\n```\n```text\ny\n```", python), "x\n");
  EXPECT_EQ(last_fenced("```python\nx\n```\n```python\ny", python), std::nullopt);
  EXPECT_EQ(last_fenced("<think>```python\nx\n```", python), std::nullopt);
  EXPECT_EQ(last_fenced("none", python), std::nullopt);
}

TEST(JsonSchema, TellsWhereAValueDoesNotFit) {
  const Json schema = Json::parse(
      R"({"type": "object", "required": ["name", "tags"], "additionalProperties": false, "properties": {
      "name": {"type": "string", "minLength": 2, "pattern": "^[a-z]+$"}, "age": {"type": "integer", "minimum": 0, "exclusiveMaximum": 150},
      "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": true, "maxItems": 2},
      "next": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}, "size": {"oneOf": [{"multipleOf": 3}, {"multipleOf": 5}]}}})");
  const struct {
    const char *value, *wrong;
  } cases[] = {
      {R"({"name": "abc", "tags": []})", ""},
      {R"({"name": "abc", "tags": ["a", "b"], "age": 3.0, "next": {"name": "xy", "tags": []}})",
       ""},
      {R"({"tags": []})", "$: lacks name"},
      {R"({"name": "a", "tags": []})", "$.name: expected minLength 2"},
      {R"({"name": "Abc", "tags": []})", "$.name: expected pattern"},
      {R"({"name": "abc", "tags": ["c"]})", "$.tags[0]: expected one of"},
      {R"({"name": "abc", "tags": ["a", "a"]})", "$.tags: expected items that differ"},
      {R"({"name": "abc", "tags": [], "age": 1.5})", "$.age: expected type"},
      {R"({"name": "abc", "tags": [], "age": 150})", "$.age: expected exclusiveMaximum"},
      {R"({"name": "abc", "tags": [], "more": 1})", "$.more: nothing is allowed"},
      {R"({"name": "abc", "tags": [], "next": {"name": "xy"}})", "$.next: expected type"},
      {R"({"name": "abc", "tags": [], "size": 15})", "$.size: expected exactly one"},
      {R"([])", "$: expected type"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.value);
    const std::string got = schema_mismatch(schema, Json::parse(c.value));
    if (*c.wrong == '\0')
      EXPECT_EQ(got, "");
    else
      EXPECT_THAT(got, HasSubstr(c.wrong));
  }
  for (const char* bad : {R"({"typ": "object"})", R"({"$ref": "#/nowhere"})", R"({"$ref": "#"})",
                          R"({"type": "strange"})", "3"}) {
    EXPECT_THROW(schema_mismatch(Json::parse(bad), Json(1)), std::invalid_argument) << bad;
  }
}

TEST(JsonSchema, JudgesTheJsonOfACompletion) {
  const auto reward = make_reward("json_schema");
  const auto judge = [&](const std::string& text, const Json& answer) {
    return reward->judge(prompt_with(answer), stopped(text));
  };
  const Json schema = {{"type", "object"}, {"required", {"a"}}};
  EXPECT_EQ(judge(R"({"a": 1})", schema).value, 1.0);
  EXPECT_EQ(judge("<think>{}</think>Here:\n```json\n{\"a\": 1}\n```\n", schema).value, 1.0);
  EXPECT_EQ(judge(R"({"a": 1})", schema.dump()).value, 1.0);
  EXPECT_EQ(judge("{}", schema).status, ScoreStatus::kWrong);
  EXPECT_EQ(judge("{\"a\": 1,}", schema).status, ScoreStatus::kUnparsed);
  EXPECT_EQ(judge("", nullptr).value, 0.0);
  EXPECT_EQ(judge(" \n[1]\n ", nullptr).value, 1.0);
  EXPECT_EQ(judge("{}", {{"type", 3}}).value, std::nullopt);
  EXPECT_EQ(judge("{}", "no schema").status, ScoreStatus::kRefused);
}

TEST(Instructions, EachIsFollowedOrNot) {
  const struct {
    const char *id, *arguments, *yes, *no;
  } cases[] = {
      {"keywords:existence", R"({"keywords": ["cat", "dog"]})", "A Cat and a dog.",
       "A catalog and a dog."},
      {"keywords:forbidden_words", R"({"forbidden_words": ["bad"]})", "badly", "It is BAD."},
      {"keywords:frequency", R"({"keyword": "go", "frequency": 3, "relation": "at least"})",
       "go go, Go", "go, going, go"},
      {"keywords:letter_frequency",
       R"({"letter": "e", "let_frequency": 2, "let_relation": "less than"})", "Ex", "eE"},
      {"language:response_language", R"({"language": "de"})", "Das ist nicht gut.",
       "This is not good."},
      {"length_constraints:number_sentences", R"({"num_sentences": 2, "relation": "at least"})",
       "One. Two!", "One 1.5 two."},
      {"length_constraints:number_words", R"({"num_words": 3, "relation": "less than"})",
       "one two -", "one two three"},
      {"length_constraints:number_paragraphs", R"({"num_paragraphs": 2})", "a\n***\nb", "a\n\nb"},
      {"length_constraints:nth_paragraph_first_word",
       R"({"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "so"})", "a\n\n\"So, b", "So a"},
      {"detectable_content:number_placeholders", R"({"num_placeholders": 2})",
       "[name] lives in [town]", "[name] only"},
      {"detectable_content:postscript", R"({"postscript_marker": "P.S."})", "bye\nP.S. more",
       "bye"},
      {"detectable_format:number_bullet_lists", R"({"num_bullets": 2})", "* a\n* b\n",
       "* a\n**b**\n"},
      {"detectable_format:constrained_response", "{}", "My answer is no.", "No."},
      {"detectable_format:number_highlighted_sections", R"({"num_highlights": 2})", "*a* and **b**",
       "*a*"},
      {"detectable_format:multiple_sections",
       R"({"section_spliter": "Section", "num_sections": 2})", "Section 1 a\nSection 2 b",
       "Section 1"},
      {"detectable_format:json_format", "{}", "```json\n{\"a\": 1}\n```", "{a: 1}"},
      {"detectable_format:title", "{}", "<<A title>>\ntext", "<< >>"},
      {"combination:two_responses", "{}", "a\n******\nb", "a\n******\na"},
      {"combination:repeat_prompt", R"({"prompt_to_repeat": "Do it."})", "do it. Done", "Done"},
      {"startend:end_checker", R"({"end_phrase": "the end."})", "All. The end.", "The end. Or not"},
      {"startend:quotation", "{}", "\"all of it\"", "\"part\" of it"},
      {"change_case:capital_word_frequency",
       R"({"capital_frequency": 2, "capital_relation": "at least"})", "NO and YES", "NO and Yes"},
      {"change_case:english_capital", "{}", "ALL 3", "ALl"},
      {"change_case:english_lowercase", "{}", "all 3", "alL"},
      {"punctuation:no_comma", "{}", "a; b", "a, b"},
  };
  EXPECT_EQ(std::size(cases), instruction_ids().size());
  for (const auto& c : cases) {
    SCOPED_TRACE(c.id);
    EXPECT_TRUE(follows_instruction(c.id, Json::parse(c.arguments), c.yes));
    EXPECT_FALSE(follows_instruction(c.id, Json::parse(c.arguments), c.no));
  }
  EXPECT_THROW(follows_instruction("punctuation:no_coma", Json::object(), ""),
               std::invalid_argument);
  EXPECT_THROW(follows_instruction("keywords:existence", Json::object(), ""),
               std::invalid_argument);
}

TEST(Instructions, AreTakenFromTheColumns) {
  const Json columns = {
      {"instruction_id_list", {"punctuation:no_comma", "length_constraints:number_words"}},
      {"kwargs", {Json::object(), {{"num_words", 2}, {"relation", "at least"}}}}};
  EXPECT_EQ(share("instructions", "two words", columns), 1.0);
  EXPECT_EQ(share("instructions", "<think>a, b</think>two words", columns), 1.0);
  EXPECT_EQ(share("instructions", "one", columns), 0.0);
  EXPECT_EQ(share("instructions{fraction = true}", "one", columns), 0.5);
  EXPECT_EQ(share("instructions", "", columns), 0.0);
  EXPECT_EQ(make_reward("instructions")->judge(prompt_with(nullptr), stopped("a")).value,
            std::nullopt);
}

// Runs nothing: a "program" is the list of outputs it gives, one a line; "IE" is a broken runner.
class FakeRunner : public CodeRunner {
 public:
  CodeResult run(const CodeJob& job, bool) const override {
    ++runs;
    last = job;
    if (job.code.starts_with("IE")) return {{}, true, "no boxes"};
    CodeResult result;
    std::istringstream lines(job.code);
    for (std::string line; std::getline(lines, line);)
      result.tests.push_back({line == "RE" ? "RE" : "AC", line});
    return result;
  }
  mutable int runs = 0;
  mutable CodeJob last;
};

Judgement judge_code(const Json& answer, const std::string& text, bool fraction = false,
                     const std::shared_ptr<FakeRunner>& runner = std::make_shared<FakeRunner>()) {
  return CodeReward({fraction}, runner).judge(prompt_with(answer), stopped(text));
}

TEST(Code, ComparesTokensOfEachCase) {
  const Json answer = {
      {"language", "python"},
      {"test_cases", {{{"input", "1"}, {"output", "1 2\n"}}, {{"input", "2"}, {"output", "3"}}}}};
  EXPECT_EQ(judge_code(answer, "```python\n 1  2\n3\n```").value, 1.0);
  EXPECT_EQ(judge_code(answer, "```python\n1 2\n4\n```").value, 0.0);
  EXPECT_EQ(judge_code(answer, "```python\n1 2\n4\n```", true).value, 0.5);
  EXPECT_EQ(judge_code(answer, "```python\n1 2\n4\n```").reason, "1 of 2 tests pass; test 2: WA");
  EXPECT_EQ(judge_code(answer, "```python\n1 2\nRE\n```").reason, "1 of 2 tests pass; test 2: RE");
  EXPECT_EQ(judge_code(answer, "```python\n1 2\n```", true).value, 0.5);
  EXPECT_EQ(judge_code(answer, "```cpp\n1 2\n3\n```").status, ScoreStatus::kUnparsed);
  EXPECT_EQ(judge_code(answer, "1 2\n3\n").value, 1.0);  // a bare program
  EXPECT_EQ(judge_code(answer, "").status, ScoreStatus::kUnparsed);
}

TEST(Code, ABrokenRunnerIsRetriedAndThenNull) {
  const auto runner = std::make_shared<FakeRunner>();
  const Judgement got = judge_code({{"tests", "assert f() == 1"}, {"entry_point", "f"}},
                                   "```\nIE\n```", false, runner);
  EXPECT_EQ(got.value, std::nullopt);
  EXPECT_EQ(got.status, ScoreStatus::kCrashed);
  EXPECT_EQ(runner->runs, 2);
}

TEST(Code, ReadsTheFormsOfDataSets) {
  const CodeJob human_eval = code_job(
      {{"language", "python"}, {"tests", "def check(candidate): pass"}, {"entry_point", "f"}});
  EXPECT_EQ(human_eval.entry_point, "f");
  EXPECT_THAT(human_eval.assertions, HasSubstr("check"));
  const CodeJob mbpp = code_job({{"test_list", {"assert f(1) == 2", "assert f(2) == 3"}},
                                 {"test_setup_code", "import math"}});
  EXPECT_EQ(mbpp.assertions, "import math\nassert f(1) == 2\nassert f(2) == 3");
  const CodeJob open_r1 = code_job(
      R"({"language": "C++", "test_cases": [{"input": ["1", "2"], "output": "3", "type": "stdin_stdout"}], "limits": {"cpu_s": 3}})");
  EXPECT_EQ(open_r1.language, "cpp");
  EXPECT_EQ(open_r1.cases.at(0).input, "1\n2");
  EXPECT_EQ(open_r1.limits.at("cpu_s"), 3);
  const CodeJob apps =
      code_job({{"inputs", {{1, 2}, {3, 4}}}, {"outputs", {3, 7}}, {"fn_name", "add"}});
  EXPECT_EQ(apps.entry_point, "add");
  EXPECT_EQ(Json::parse(apps.pairs_json), Json::parse("[[[1,2],3],[[3,4],7]]"));
  const CodeJob live =
      code_job({{"test_cases", {{{"input", "[1, 2]\n3"}, {"output", "\"x\""}, {"fn_name", "g"}}}}});
  EXPECT_EQ(Json::parse(live.pairs_json), Json::parse(R"([[[[1,2],3],"x"]])"));
  const CodeJob bench = code_job(
      {{"public_test_cases", R"([{"input": "[1]\n2", "output": "3", "testtype": "functional"}])"},
       {"metadata", R"({"func_name": "h"})"}});
  EXPECT_EQ(bench.entry_point, "h");
  EXPECT_EQ(Json::parse(bench.pairs_json), Json::parse("[[[[1],2],3]]"));
  for (const Json& bad : {Json{{"tests", "def check(candidate): pass"}}, Json(), Json("x"),
                          Json::object(), Json{{"inputs", {1}}, {"outputs", Json::array()}},
                          Json{{"test_cases", {{{"input", 3}, {"output", ""}}}}}}) {
    EXPECT_THROW(code_job(bad), std::invalid_argument) << bad;
  }
}

TEST(Code, HelpersOfThePromptAreTheSetUp) {
  const std::string prompt =
      "import math\n\n\ndef poly(xs: list, x: float):\n    \"\"\"Value at x.\"\"\"\n    return "
      "0\n\n\n"
      "def find_zero(xs: list):\n    \"\"\"A zero.\"\"\"\n";
  const Json answer = {{"tests", "assert poly([1], find_zero([1])) == 0"},
                       {"entry_point", "find_zero"}};
  const CodeJob job = code_job(answer, prompt);
  EXPECT_THAT(job.setup, ::testing::StartsWith("import math\ndef poly("));
  EXPECT_THAT(job.setup, ::testing::Not(HasSubstr("find_zero")));
  EXPECT_EQ(
      code_job({{"tests", "assert find_zero([1]) == 0"}, {"entry_point", "find_zero"}}, prompt)
          .setup,
      "");
  // A completion with a helper of its own must pass with both.
  const auto runner = std::make_shared<FakeRunner>();
  const CodeReward reward({}, runner);
  reward.judge(prompt_with(answer, prompt), stopped("```\nx = 1\n```"));
  EXPECT_EQ(runner->runs, 1);
  reward.judge(prompt_with(answer, prompt), stopped("```\ndef poly(): 1\n```"));
  EXPECT_EQ(runner->runs, 3);
  EXPECT_EQ(runner->last.setup, "");
}

TEST(Code, AContinuationIsRunBehindItsPrompt) {
  const auto runner = std::make_shared<FakeRunner>();
  const Json answer = {{"tests", "assert f() == 1"}, {"entry_point", "f"}};
  CodeReward({}, runner).judge(prompt_with(answer, "def f():\n"), stopped("    return 1\n"));
  EXPECT_EQ(runner->last.code, "def f():\n    return 1\n");
  CodeReward({}, runner)
      .judge(prompt_with(answer, "def f():\n"), stopped("def f():\n    return 1"));
  EXPECT_EQ(runner->last.code, "def f():\n    return 1");
}

TEST(Code, TestsMayStandInVerificationInfo) {
  const Json info = {{"language", "python"}, {"test_cases", {{{"input", ""}, {"output", "7"}}}}};
  const CodeReward reward({}, std::make_shared<FakeRunner>());
  EXPECT_EQ(reward
                .judge(prompt_with(nullptr, "", {{"verification_info", info}}),
                       stopped("```python\n7\n```"))
                .value,
            1.0);
}

TEST(Hacks, SignsAreSeenAndOrdinaryTextHasNone) {
  const data::Prompt prompt = prompt_with(nullptr,
                                          "Please tell me how many of the seven red apples in the "
                                          "old basket are ripe by now, and why you think so.");
  const auto signs = [&](const std::string& text) { return hack_signs(prompt, stopped(text)); };
  const HackSigns plain = signs("<think>three are red</think><answer>3</answer>");
  EXPECT_FALSE(plain.tag_spam || plain.many_boxes || plain.prompt_copy || plain.hidden_answer);
  EXPECT_TRUE(signs("<answer>1</answer><answer>2</answer><answer>3</answer>").tag_spam);
  EXPECT_TRUE(signs("\\boxed{1}\\boxed{2}\\boxed{3}").many_boxes);
  EXPECT_TRUE(signs(prompt.text).prompt_copy);
  EXPECT_TRUE(signs("<answer>3</answer>" + std::string(3000, '.')).hidden_answer);
}

TEST(Hacks, MetricsAreShares) {
  data::Group group{prompt_with(nullptr),
                    {stopped("\\boxed{1}\\boxed{2}\\boxed{3}"), stopped("3")}};
  std::vector<data::Score> scores(2);
  scores[0].value = 1, scores[1].value = 0;
  const std::vector<data::ScoredGroup> groups = {data::ScoredGroup(group, scores)};
  const auto metrics = hack_metrics(groups);
  EXPECT_EQ(metrics.at("hacks/many_boxes"), 0.5);
  EXPECT_EQ(metrics.at("hacks/tag_spam"), 0.0);
  EXPECT_EQ(metrics.at("hacks/rewarded"), 1.0);
  EXPECT_TRUE(hack_metrics({}).empty());
}

}  // namespace
}  // namespace ponder::rewards

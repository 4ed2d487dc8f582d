#include "rewards/match.h"

#include <algorithm>

#include <re2/re2.h>

#include "core/error.h"
#include "rewards/tags.h"
#include "rewards/text.h"

namespace ponder::rewards {
namespace {

using data::Json;
using data::ScoreStatus;

Judgement cut() {
  return {0.0, ScoreStatus::kUnparsed, "cut before its end: no answer"};
}

bool was_cut(const data::Completion& completion) {
  return completion.finish_reason != data::FinishReason::kStop;
}

// Runs of white space as one blank, none at the ends.
std::string collapsed(std::string_view text) {
  std::string out;
  for (const std::string_view word : text::words(text))
    out.append(out.empty() ? "" : " ").append(word);
  return out;
}

std::string scalar_text(const Json& value) {
  return collapsed(value.is_string() ? value.get<std::string>() : value.dump());
}

bool is_scalar(const Json& value) {
  return value.is_string() || value.is_number() || value.is_boolean();
}

re2::RE2::Options quiet() {
  re2::RE2::Options options;
  options.set_log_errors(false);
  options.set_dot_nl(true);
  options.set_max_mem(64 << 20);
  return options;
}

bool matches(const re2::RE2& pattern, std::string_view text, bool whole) {
  const re2::StringPiece piece(text.data(), text.size());
  return whole ? re2::RE2::FullMatch(piece, pattern) : re2::RE2::PartialMatch(piece, pattern);
}

char gold_letter(const Json& answer) {
  static const re2::RE2 form(R"(\s*[\(\[]?([A-Za-z])[\)\].:]?\s*)", quiet());
  std::string letter;
  if (!answer.is_string() || !re2::RE2::FullMatch(answer.get<std::string>(), form, &letter))
    return 0;
  return static_cast<char>(std::toupper(static_cast<unsigned char>(letter[0])));
}

// The letters that a text names as its choice: "B", "(B)", "B. text", "option B"; "A or B" and "A,
// B" name two.
std::string chosen(std::string text) {
  static const re2::RE2 first(
      R"(^(?i:the\s+)?(?i:answer|option|choice)?\s*(?i:is)?\s*:?\s*(?:\\text(?:bf)?\{)?[\(\[*]*([A-Za-z])[\)\]*}]*(?:[.:]|\s|$|,|/))",
      quiet());
  static const re2::RE2 more(
      R"(^\s*(?:,|/|or\b|and\b|&)+\s*(?:or\s+|and\s+)?[\(\[*]*([A-Z])[\)\]*}]*(?:[.:]|\s|$|,|/))",
      quiet());
  re2::StringPiece rest(text);
  std::string letter, out;
  if (!re2::RE2::Consume(&rest, first, &letter)) return {};
  out += static_cast<char>(std::toupper(static_cast<unsigned char>(letter[0])));
  if (rest.data() > text.data() && (rest.data()[-1] == ',' || rest.data()[-1] == '/'))
    rest = {rest.data() - 1, rest.size() + 1};
  while (re2::RE2::Consume(&rest, more, &letter)) {
    if (out.find(letter) == std::string::npos) out += letter;
    if (rest.data()[-1] == ',' || rest.data()[-1] == '/') rest = {rest.data() - 1, rest.size() + 1};
  }
  return out;
}

// The letters of the final answer; without tag and box those behind the last "answer is", or of a
// text that is only a choice.
std::string chosen_in(const std::string& rendered) {
  if (const auto answer = final_answer(rendered)) return chosen(*answer);
  std::string visible(text::trimmed(text::behind_reasoning(rendered)));
  if (visible.find("<answer>") != std::string::npos ||
      visible.find("\\boxed{") != std::string::npos)
    return {};
  static const re2::RE2 said(R"((?i)\banswer(?:\s+is|\s*:)\s*)", quiet());
  re2::StringPiece rest(visible), last;
  while (re2::RE2::FindAndConsume(&rest, said)) last = rest;
  if (last.data() != nullptr) return chosen(std::string(last));
  static const re2::RE2 alone(R"([\(\[]?[A-Za-z][\)\]]?[.:]?)", quiet());
  return re2::RE2::FullMatch(visible, alone) ? chosen(visible) : std::string();
}

}  // namespace

void bind(core::Binder& b, ExactMatchOptions& o) {
  b.field("ignore_case", o.ignore_case, "ASCII letters match in either case");
}

std::string ExactMatch::problem_with(const data::Prompt& prompt) const {
  const Json& answer = prompt.answer;
  const bool list =
      answer.is_array() && !answer.empty() && std::all_of(answer.begin(), answer.end(), is_scalar);
  return is_scalar(answer) || list
             ? ""
             : "exact_match: the answer is no text, number or list of them: " +
                   text::shortened(answer.dump());
}

Judgement ExactMatch::judge(const data::Prompt& prompt, const data::Completion& completion) const {
  if (const std::string problem = problem_with(prompt); !problem.empty()) return refused(problem);
  if (was_cut(completion)) return cut();
  const std::string whole = text::rendered(prompt, completion);
  const std::string_view visible = text::behind_reasoning(whole);
  const auto marked = final_answer(whole);
  const bool broken = !marked && (visible.find("<answer>") != std::string_view::npos ||
                                  visible.find("\\boxed{") != std::string_view::npos);
  if (broken) return {0.0, ScoreStatus::kUnparsed, "the last answer is not closed"};
  const std::string found = collapsed(marked ? std::string_view(*marked) : visible);
  const auto fold = [&](const std::string& s) { return options_.ignore_case ? text::lower(s) : s; };
  bool right = false;
  const Json golds = prompt.answer.is_array() ? prompt.answer : Json::array({prompt.answer});
  for (const Json& gold : golds) right = right || fold(scalar_text(gold)) == fold(found);
  return {right ? 1.0 : 0.0, right ? ScoreStatus::kOk : ScoreStatus::kWrong,
          fmt::format("answer {}, expected {}", text::shortened(found),
                      text::shortened(prompt.answer.dump()))};
}

std::string MultipleChoice::problem_with(const data::Prompt& prompt) const {
  return gold_letter(prompt.answer) != 0
             ? ""
             : "multiple_choice: the answer is no letter: " + text::shortened(prompt.answer.dump());
}

Judgement MultipleChoice::judge(const data::Prompt& prompt,
                                const data::Completion& completion) const {
  if (const std::string problem = problem_with(prompt); !problem.empty()) return refused(problem);
  if (was_cut(completion)) return cut();
  const std::string letters = chosen_in(text::rendered(prompt, completion));
  if (letters.empty()) return {0.0, ScoreStatus::kUnparsed, "names no choice"};
  const char gold = gold_letter(prompt.answer);
  const bool right = letters.size() == 1 && letters[0] == gold;
  return {right ? 1.0 : 0.0, right ? ScoreStatus::kOk : ScoreStatus::kWrong,
          fmt::format("{} {}, expected {}",
                      letters.size() == 1 ? "chose" : "named several:", letters, gold)};
}

void bind(core::Binder& b, RegexOptions& o) {
  b.field("pattern", o.pattern, "RE2 pattern; empty: the prompt's answer");
  b.field("whole", o.whole, "the whole text must match, else a part of it");
}

RegexMatch::RegexMatch(const RegexOptions& options) : options_(options) {
  if (options.pattern.empty()) return;
  pattern_ = std::make_unique<re2::RE2>(options.pattern, quiet());
  if (!pattern_->ok()) core::throw_user("regex: pattern: {}", pattern_->error());
}

RegexMatch::~RegexMatch() = default;

std::string RegexMatch::problem_with(const data::Prompt& prompt) const {
  if (pattern_ != nullptr) return {};
  if (!prompt.answer.is_string())
    return "regex: no pattern: neither the option nor a text as answer";
  const re2::RE2 pattern(prompt.answer.get<std::string>(), quiet());
  return pattern.ok() ? "" : "regex: the answer is no pattern: " + pattern.error();
}

Judgement RegexMatch::judge(const data::Prompt& prompt, const data::Completion& completion) const {
  if (const std::string problem = problem_with(prompt); !problem.empty()) return refused(problem);
  const std::string whole = text::rendered(prompt, completion);
  const std::string_view visible = options_.whole ? text::trimmed(whole) : std::string_view(whole);
  const bool holds =
      pattern_ != nullptr
          ? matches(*pattern_, visible, options_.whole)
          : matches(re2::RE2(prompt.answer.get<std::string>(), quiet()), visible, options_.whole);
  return {holds ? 1.0 : 0.0, holds ? ScoreStatus::kOk : ScoreStatus::kWrong,
          holds ? "matches" : "does not match"};
}

}  // namespace ponder::rewards

#include "rewards/r1.h"

#include <algorithm>
#include <array>

#include "rewards/text.h"

namespace ponder::rewards {
namespace {

using data::ScoreStatus;
using text::trimmed;

// An integer's digits without sign of plus and leading zeros, "-" kept; empty where the text is
// none. So integers of any size compare as text.
std::string canonical_integer(std::string_view text) {
  const bool negative = !text.empty() && text[0] == '-';
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  if (text.empty() ||
      !std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; }))
    return {};
  text.remove_prefix(std::min(text.find_first_not_of('0'), text.size() - 1));
  return (negative && text != "0" ? "-" : "") + std::string(text);
}

std::string reference_text(const data::Json& answer) {
  return answer.is_string() ? std::string(trimmed(answer.get_ref<const std::string&>()))
                            : answer.dump();
}

bool same_answer(const std::string& found, const std::string& expected) {
  const std::string found_integer = canonical_integer(found),
                    expected_integer = canonical_integer(expected);
  if (!found_integer.empty() && !expected_integer.empty()) return found_integer == expected_integer;
  return found == expected;
}

}  // namespace

std::optional<std::string> last_answer(std::string_view completion) {
  constexpr std::string_view kOpen = "<answer>", kClose = "</answer>";
  const size_t open = completion.rfind(kOpen);
  if (open == std::string_view::npos) return std::nullopt;
  const size_t begin = open + kOpen.size(), close = completion.find(kClose, begin);
  if (close == std::string_view::npos) return std::nullopt;
  return std::string(trimmed(completion.substr(begin, close - begin)));
}

std::string AnswerTagAccuracy::problem_with(const data::Prompt& prompt) const {
  return prompt.answer.is_null() ? "the prompt has no answer to compare with" : "";
}

Judgement AnswerTagAccuracy::judge(const data::Prompt& prompt,
                                   const data::Completion& completion) const {
  if (const std::string problem = problem_with(prompt); !problem.empty()) return refused(problem);
  if (completion.finish_reason != data::FinishReason::kStop) {
    return {0.0, ScoreStatus::kUnparsed, "cut before its end: no answer"};
  }
  const std::optional<std::string> found = last_answer(text::rendered(prompt, completion));
  if (!found) return {0.0, ScoreStatus::kUnparsed, "no closed <answer> at the end"};
  const std::string expected = reference_text(prompt.answer);
  const bool right = same_answer(*found, expected);
  return {
      right ? 1.0 : 0.0, right ? ScoreStatus::kOk : ScoreStatus::kWrong,
      fmt::format("answer {}, expected {}", text::shortened(*found), text::shortened(expected))};
}

Judgement ThinkAnswerFormat::judge(const data::Prompt& prompt,
                                   const data::Completion& completion) const {
  if (completion.finish_reason != data::FinishReason::kStop)
    return {0.0, ScoreStatus::kWrong, "cut before its end"};
  const std::string whole = text::rendered(prompt, completion);
  const std::string_view text = trimmed(whole);
  constexpr std::array<std::string_view, 4> kTags = {"<think>", "</think>", "<answer>",
                                                     "</answer>"};
  for (const std::string_view tag : kTags) {
    const size_t count = text::count_of(text, tag);
    if (count != 1)
      return {0.0, ScoreStatus::kWrong, fmt::format("{} {} times, expected once", tag, count)};
  }
  const size_t think_end = text.find(kTags[1]), answer = text.find(kTags[2]);
  const bool framed = text.starts_with(kTags[0]) && text.ends_with(kTags[3]);
  const bool ordered =
      think_end < answer &&
      trimmed(text.substr(think_end + kTags[1].size(), answer - think_end - kTags[1].size()))
          .empty();
  if (!framed || !ordered)
    return {0.0, ScoreStatus::kWrong, "text outside <think>...</think><answer>...</answer>"};
  return {1.0, ScoreStatus::kOk, "format holds"};
}

}  // namespace ponder::rewards

#include "rewards/r1.h"

#include <algorithm>
#include <array>

namespace ponder::rewards {
namespace {

using data::ScoreStatus;

constexpr std::string_view kBlanks = " \t\r\n";

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

// An integer's digits without sign of plus and leading zeros, "-" kept; empty where the text is none. So integers of any
// size compare as text.
std::string canonical_integer(std::string_view text) {
  const bool negative = !text.empty() && text[0] == '-';
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  if (text.empty() || !std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; })) return {};
  text.remove_prefix(std::min(text.find_first_not_of('0'), text.size() - 1));
  return (negative && text != "0" ? "-" : "") + std::string(text);
}

std::string reference_text(const data::Json& answer) {
  return answer.is_string() ? std::string(trimmed(answer.get_ref<const std::string&>())) : answer.dump();
}

bool same_answer(const std::string& found, const std::string& expected) {
  const std::string found_integer = canonical_integer(found), expected_integer = canonical_integer(expected);
  if (!found_integer.empty() && !expected_integer.empty()) return found_integer == expected_integer;
  return found == expected;
}

// For reasons: at most 60 bytes, cut at a character's border.
std::string shortened(const std::string& text) {
  if (text.size() <= 60) return text;
  size_t end = 57;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end) + "...";
}

size_t count_of(std::string_view text, std::string_view tag) {
  size_t count = 0;
  for (size_t at = text.find(tag); at != std::string_view::npos; at = text.find(tag, at + tag.size())) ++count;
  return count;
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

Judgement AnswerTagAccuracy::judge(const data::Prompt& prompt, const data::Completion& completion) const {
  if (prompt.answer.is_null()) return {std::nullopt, ScoreStatus::kRefused, "the prompt has no answer to compare with"};
  if (completion.finish_reason != data::FinishReason::kStop) {
    return {0.0, ScoreStatus::kUnparsed, "cut before its end: no answer"};
  }
  const std::optional<std::string> found = last_answer(completion.text);
  if (!found) return {0.0, ScoreStatus::kUnparsed, "no closed <answer> at the end"};
  const std::string expected = reference_text(prompt.answer);
  const bool right = same_answer(*found, expected);
  return {right ? 1.0 : 0.0, right ? ScoreStatus::kOk : ScoreStatus::kWrong,
          fmt::format("answer {}, expected {}", shortened(*found), shortened(expected))};
}

Judgement ThinkAnswerFormat::judge(const data::Prompt&, const data::Completion& completion) const {
  if (completion.finish_reason != data::FinishReason::kStop) return {0.0, ScoreStatus::kWrong, "cut before its end"};
  const std::string_view text = trimmed(completion.text);
  constexpr std::array<std::string_view, 4> kTags = {"<think>", "</think>", "<answer>", "</answer>"};
  for (const std::string_view tag : kTags) {
    const size_t count = count_of(text, tag);
    if (count != 1) return {0.0, ScoreStatus::kWrong, fmt::format("{} {} times, expected once", tag, count)};
  }
  const size_t think_end = text.find(kTags[1]), answer = text.find(kTags[2]);
  const bool framed = text.starts_with(kTags[0]) && text.ends_with(kTags[3]);
  const bool ordered = think_end < answer && trimmed(text.substr(think_end + kTags[1].size(),
                                                                 answer - think_end - kTags[1].size())).empty();
  if (!framed || !ordered) return {0.0, ScoreStatus::kWrong, "text outside <think>...</think><answer>...</answer>"};
  return {1.0, ScoreStatus::kOk, "format holds"};
}

}  // namespace ponder::rewards

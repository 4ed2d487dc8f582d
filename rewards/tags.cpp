#include "rewards/tags.h"

#include "rewards/r1.h"
#include "rewards/text.h"

namespace ponder::rewards {
namespace {

using data::ScoreStatus;

constexpr std::string_view kBox = "\\boxed{";

Judgement verdict(bool holds, std::string reason) {
  return {holds ? 1.0 : 0.0, holds ? ScoreStatus::kOk : ScoreStatus::kWrong, std::move(reason)};
}

}  // namespace

std::optional<std::string_view> last_boxed(std::string_view text) {
  const size_t open = text.rfind(kBox);
  if (open == std::string_view::npos) return std::nullopt;
  const size_t begin = open + kBox.size();
  int depth = 1;
  for (size_t at = begin; at < text.size(); ++at) {
    if (text[at] == '\\') {
      ++at;
    } else if (text[at] == '{') {
      ++depth;
    } else if (text[at] == '}' && --depth == 0) {
      return text.substr(begin, at - begin);
    }
  }
  return std::nullopt;
}

std::optional<std::string> final_answer(std::string_view text) {
  if (text.find("<think>") != std::string_view::npos &&
      text.find("</think>") == std::string_view::npos)
    return std::nullopt;
  const std::string_view visible = text::behind_reasoning(text);
  if (visible.find("<answer>") != std::string_view::npos) return last_answer(visible);
  const auto boxed = last_boxed(visible);
  return boxed ? std::optional<std::string>(text::trimmed(*boxed)) : std::nullopt;
}

Judgement ThinkFormat::judge(const data::Prompt& prompt, const data::Completion& completion) const {
  const std::string text = text::rendered(prompt, completion);
  const bool holds = text.starts_with("<think>") && text::count_of(text, "<think>") == 1 &&
                     text::count_of(text, "</think>") > 0;
  return verdict(holds,
                 holds ? "<think>...</think> comes first" : "no <think>...</think> in front");
}

Judgement TagCount::judge(const data::Prompt& prompt, const data::Completion& completion) const {
  const std::string text = text::rendered(prompt, completion);
  double share = 0;
  for (const char* tag : {"<think>\n", "\n</think>\n", "\n<answer>\n", "\n</answer>"})
    share += text::count_of(text, tag) == 1 ? 0.25 : 0;
  return {share, share == 1 ? ScoreStatus::kOk : ScoreStatus::kWrong,
          fmt::format("{} of 4 tags stand once, on their lines", share * 4)};
}

Judgement BoxedFormat::judge(const data::Prompt& prompt, const data::Completion& completion) const {
  const std::string text = text::rendered(prompt, completion);
  const bool holds = last_boxed(text::behind_reasoning(text)).has_value();
  return verdict(holds, holds ? "a closed \\boxed" : "no closed \\boxed behind the reasoning");
}

Judgement OneAnswer::judge(const data::Prompt& prompt, const data::Completion& completion) const {
  const std::string text = text::rendered(prompt, completion);
  const std::string_view visible = text::behind_reasoning(text);
  const size_t tags = text::count_of(visible, "<answer>"), boxes = text::count_of(visible, kBox);
  const bool holds = (tags == 1 || (tags == 0 && boxes == 1)) && final_answer(text).has_value();
  return verdict(holds, fmt::format("{} <answer>, {} \\boxed behind the reasoning", tags, boxes));
}

}  // namespace ponder::rewards

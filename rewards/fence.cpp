#include "rewards/fence.h"

#include <algorithm>

#include "rewards/text.h"

namespace ponder::rewards {
namespace {

constexpr std::string_view kFence = "```";

bool fits(std::string_view label, const std::vector<std::string>& languages) {
  std::string name = text::lower(text::trimmed(label));
  const size_t version = name.find_last_not_of("0123456789.");
  name.resize(version == std::string::npos ? 0 : version + 1);
  return languages.empty() || name.empty() ||
         std::find(languages.begin(), languages.end(), name) != languages.end();
}

}  // namespace

std::optional<std::string> last_fenced(std::string_view text,
                                       const std::vector<std::string>& languages) {
  if (text.find("<think>") != std::string_view::npos &&
      text.find("</think>") == std::string_view::npos)
    return std::nullopt;
  text = text::behind_reasoning(text);
  std::optional<std::string> last;
  for (size_t at = text.find(kFence); at != std::string_view::npos; at = text.find(kFence, at)) {
    const size_t line_end = text.find('\n', at);
    if (line_end == std::string_view::npos) break;
    const std::string_view label = text.substr(at + kFence.size(), line_end - at - kFence.size());
    const size_t close = text.find(kFence, line_end);
    if (close == std::string_view::npos)
      return std::nullopt;  // an unfinished last block hides the earlier
    if (fits(label, languages))
      last = std::string(text.substr(line_end + 1, close > line_end ? close - line_end - 1 : 0));
    at = close + kFence.size();
  }
  return last;
}

}  // namespace ponder::rewards

// Fenced blocks of Markdown in a completion.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ponder::rewards {

// The content of the last closed ```...``` block behind the reasoning whose word after the fence is
// one of `languages` (in any case, a version number behind it aside) or absent; of any language
// where `languages` is empty. None where there is none.
std::optional<std::string> last_fenced(std::string_view text,
                                       const std::vector<std::string>& languages);

}  // namespace ponder::rewards

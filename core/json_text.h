// JSON texts from outside: parsed only where they are not nested so deep that walking through the
// value (a copy, its dump, a comparison) would end the stack.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "core/error.h"

namespace ponder::core {

// Deeper than data that anybody means to write.
inline constexpr int kJsonDepthMax = 200;

// Whether brackets outside strings are nested deeper than `depth_max`. The text need not be JSON.
bool nests_deeper(std::string_view text, int depth_max = kJsonDepthMax);

// Throws UserError "WHERE: JSON that is nested deeper than 200" where it is.
void check_nesting(std::string_view text, std::string_view where);

// The value of the whole text, which stands at `where` (a file, a line of one). `Json` is
// nlohmann::json or nlohmann::ordered_json; `callback` (at most one) goes to its parser. Throws
// UserError where the text is nested too deep or is not JSON.
template <typename Json, typename... Callback>
Json parse_json(std::string_view text, std::string_view where, Callback&&... callback) {
  check_nesting(text, where);
  try {
    return Json::parse(text, std::forward<Callback>(callback)...);
  } catch (const typename Json::exception& error) {
    throw_user("{}: broken JSON: {}", where, error.what());
  }
}

// The same where what is wrong is an outcome, not an error: such a text gives a discarded value
// (is_discarded()), which is of no other type.
template <typename Json>
Json parse_json_or_discard(std::string_view text) {
  if (nests_deeper(text)) return Json(Json::value_t::discarded);
  return Json::parse(text, nullptr, /*allow_exceptions=*/false);
}

}  // namespace ponder::core

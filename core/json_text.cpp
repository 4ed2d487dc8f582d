#include "core/json_text.h"

namespace ponder::core {

bool nests_deeper(std::string_view text, int depth_max) {
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (quoted) {
      if (text[i] == '\\') {
        ++i;
      } else {
        quoted = text[i] != '"';
      }
    } else if (text[i] == '"') {
      quoted = true;
    } else if (text[i] == '[' || text[i] == '{') {
      if (++depth > depth_max) return true;
    } else if (text[i] == ']' || text[i] == '}') {
      --depth;
    }
  }
  return false;
}

void check_nesting(std::string_view text, std::string_view where) {
  if (nests_deeper(text))
    throw_user("{}: JSON that is nested deeper than {}", where, kJsonDepthMax);
}

}  // namespace ponder::core

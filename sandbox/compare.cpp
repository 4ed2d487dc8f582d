#include "sandbox/compare.h"

namespace ponder::sandbox {

namespace {

std::string_view without_trailing(std::string_view text, std::string_view characters) {
  const size_t last = text.find_last_not_of(characters);
  return last == std::string_view::npos ? std::string_view{} : text.substr(0, last + 1);
}

std::string_view next_line(std::string_view& rest) {
  const size_t end = rest.find('\n');
  const std::string_view line = rest.substr(0, end);
  rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  return without_trailing(line, " \t\r\f\v");
}

}  // namespace

bool same_output(std::string_view got, std::string_view expected) {
  got = without_trailing(got, " \t\r\f\v\n");
  expected = without_trailing(expected, " \t\r\f\v\n");
  while (!got.empty() || !expected.empty())
    if (got.empty() != expected.empty() || next_line(got) != next_line(expected)) return false;
  return true;
}

}  // namespace ponder::sandbox

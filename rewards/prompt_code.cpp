#include "rewards/prompt_code.h"

#include <unordered_set>

#include "rewards/text.h"

namespace ponder::rewards {
namespace {

bool in_name(char c) {
  return c == '_' || (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
}

// The name that a line at the left margin defines, or "".
std::string_view defined_name(std::string_view line) {
  for (std::string_view word : {"def ", "async def ", "class "}) {
    if (!line.starts_with(word)) continue;
    line.remove_prefix(word.size());
    size_t end = 0;
    while (end < line.size() && in_name(line[end])) ++end;
    return line.substr(0, end);
  }
  return {};
}

bool uses(std::string_view code, std::string_view name) {
  for (size_t at = code.find(name); at != std::string_view::npos; at = code.find(name, at + 1)) {
    const size_t end = at + name.size();
    if ((at == 0 || !in_name(code[at - 1])) && (end == code.size() || !in_name(code[end])))
      return true;
  }
  return false;
}

std::string_view next_line(std::string_view& rest) {
  const size_t end = rest.find('\n');
  const std::string_view line = rest.substr(0, end);
  rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  return line;
}

}  // namespace

bool defines(std::string_view code, std::string_view name) {
  while (!code.empty()) {
    if (defined_name(next_line(code)) == name) return !name.empty();
  }
  return false;
}

bool redefines(std::string_view code, std::string_view helpers) {
  std::unordered_set<std::string_view> given;
  while (!helpers.empty()) given.insert(defined_name(next_line(helpers)));
  given.erase("");
  while (!code.empty()) {
    if (given.contains(defined_name(next_line(code)))) return true;
  }
  return false;
}

std::string prompt_helpers(std::string_view prompt, std::string_view entry_point,
                           std::string_view tests) {
  std::string kept, decorators;
  bool used = false, inside = false;
  while (!prompt.empty()) {
    const std::string_view line = next_line(prompt);
    const bool margin = !text::trimmed(line).empty() && line[0] != ' ' && line[0] != '\t';
    const std::string_view name = margin ? defined_name(line) : std::string_view{};
    if (!name.empty()) {
      inside = name != entry_point;
      used = used || (inside && uses(tests, name));
      if (inside) kept += decorators;
    } else if (margin) {
      const bool import =
          line.starts_with("import ") || (line.starts_with("from ") && uses(line, "import"));
      inside = inside && line.starts_with(")");
      if (import) kept.append(line).append("\n");
    }
    decorators = line.starts_with("@") ? decorators.append(line).append("\n") : "";
    if (inside) kept.append(line).append("\n");
  }
  return used ? kept : std::string();
}

}  // namespace ponder::rewards

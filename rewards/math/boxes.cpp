#include "rewards/math/boxes.h"

#include <string>
#include <vector>

namespace ponder::rewards::math {
namespace {

using std::string_view;
constexpr size_t npos = string_view::npos;

// The position of the brace that closes the group whose content starts at `start`, or npos.
size_t closing_brace(string_view text, size_t start) {
  int depth = 1;
  for (size_t i = start; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == '{') {
      ++depth;
    } else if (text[i] == '}' && --depth == 0) {
      return i;
    }
  }
  return npos;
}

}  // namespace

Box last_box(string_view text, size_t limit) {
  Box box;
  size_t start = npos, name = 0;
  for (size_t found = limit; found > 0 && start == npos;) {
    found = text.substr(0, found).rfind("box");
    if (found == npos) return box;
    if (found > 0 && text[found - 1] == '\\' && text.substr(found, 5) == "boxed") {
      start = found - 1;
      name = 6;
    } else if (found > 1 && text[found - 1] == 'f' && text[found - 2] == '\\') {
      start = found - 2;
      name = 5;
    }
  }
  if (start == npos) return box;
  box.start = start;
  size_t i = start + name;
  while (i < text.size() && is_blank(text[i])) ++i;
  if (i < text.size() && text[i] == '{') {
    const size_t close = closing_brace(text, i + 1);
    if (close == npos) return box;
    box.content = text.substr(i + 1, close - i - 1);
    box.end = close + 1;
  } else {
    size_t end = i;
    while (end < text.size() && !is_blank(text[end]) && text[end] != '$' && text[end] != '}') ++end;
    box.content = text.substr(i, end - i);
    box.end = end;
  }
  box.closed = true;
  return box;
}

bool joins(string_view gap) {
  if (gap.size() > kMaxGap) return false;
  bool connective = false;
  int words = 0;
  for (size_t i = 0; i < gap.size(); ++i) {
    const char c = gap[i];
    if (is_letter(c)) {
      const size_t start = i;
      while (i + 1 < gap.size() && is_letter(gap[i + 1])) ++i;
      const string_view word = gap.substr(start, i + 1 - start);
      const bool command = start > 0 && gap[start - 1] == '\\';
      if (word == "and" || word == "or") {
        connective = true;
      } else if (command) {
        if (word != "quad" && word != "qquad" && word != "text" && word != "mathrm") return false;
      } else if (word.size() > 1 || connective) {
        words += word.size() > 1 ? 2 : 1;
      }
    } else if (c == ',' || c == '&') {
      connective = true;
    } else if (c == '.' || c == '\n' || c == '?' || c == '!') {
      return false;
    }
  }
  return connective && words <= 2;
}

Extracted boxes(string_view text) {
  Box box = last_box(text, text.size());
  if (box.start == npos) return {};
  if (!box.closed) return {Found::kMalformed, {}};
  std::vector<string_view> contents{box.content};
  string_view joint = ", ";
  while (contents.size() < kMaxJoined) {
    const Box before = last_box(text, box.start);
    if (!before.closed || before.end > box.start) break;
    const string_view gap = text.substr(before.end, box.start - before.end);
    if (!joins(gap)) break;
    if (gap.find("or") != npos) joint = " or ";
    contents.push_back(before.content);
    box = before;
  }
  Extracted result{Found::kBox, {}};
  for (size_t i = contents.size(); i-- > 0;) {
    if (!result.text.empty()) result.text += joint;
    result.text += trim(contents[i]);
  }
  if (result.text.empty()) return {};
  return result;
}

int count_boxes(string_view text) {
  // Braces are matched once from the left, so that a million open boxes cost no more than one.
  std::vector<bool> groups;  // open groups: whether each is a box's
  int closed = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\') {
      for (string_view name : {"\\boxed{", "\\fbox{"}) {
        if (!text.substr(i).starts_with(name)) continue;
        groups.push_back(true);
        i += name.size() - 2;
      }
      ++i;
    } else if (text[i] == '{') {
      groups.push_back(false);
    } else if (text[i] == '}' && !groups.empty()) {
      closed += groups.back() ? 1 : 0;
      groups.pop_back();
    }
  }
  return closed;
}

}  // namespace ponder::rewards::math

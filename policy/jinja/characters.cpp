#include "policy/jinja/characters.h"

#include <algorithm>

#include <utf8proc.h>

#include "policy/utf8.h"

namespace ponder::policy::jinja {
namespace {

bool is_ascii(char32_t c) {
  return c < 0x80;
}

size_t bytes_at(std::string_view text, size_t at) {
  return static_cast<size_t>(std::abs(next_code_point(text.substr(at)).bytes));
}

size_t bytes_before(std::string_view text) {
  size_t size = 1;
  while (size < text.size() &&
         (static_cast<unsigned char>(text[text.size() - size]) & 0xC0) == 0x80)
    ++size;
  return size;
}

void append_upper(char32_t c, std::string& out) {
  if (c == 0xDF) {
    out += "SS";
  } else {
    append_utf8(static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))), out);
  }
}

}  // namespace

char32_t code_point(std::string_view character) {
  return next_code_point(character).value;
}

size_t count_characters(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> out;
  for (size_t at = 0; at < text.size();) {
    const size_t size = bytes_at(text, at);
    out.push_back(text.substr(at, size));
    at += size;
  }
  return out;
}

bool is_space(char32_t c) {
  if (is_ascii(c)) return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x1F);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_line_break(char32_t c) {
  return (c >= 10 && c <= 13) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

bool is_printable(char32_t c) {
  if (is_ascii(c)) return c >= 0x20 && c < 0x7F;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

bool is_alpha(char32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return true;
    default:
      return false;
  }
}

bool is_decimal(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c)) == UTF8PROC_CATEGORY_ND;
}

bool is_upper(char32_t c) {
  return utf8proc_isupper(static_cast<utf8proc_int32_t>(c)) != 0;
}

bool is_lower(char32_t c) {
  return utf8proc_islower(static_cast<utf8proc_int32_t>(c)) != 0;
}

std::string upper(std::string_view text) {
  std::string out;
  for (const std::string_view c : characters(text)) append_upper(code_point(c), out);
  return out;
}

std::string lower(std::string_view text) {
  std::string out;
  for (const std::string_view c : characters(text))
    append_utf8(
        static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code_point(c)))), out);
  return out;
}

std::string capitalize(std::string_view text) {
  if (text.empty()) return "";
  const size_t first = bytes_at(text, 0);
  std::string out;
  append_utf8(static_cast<char32_t>(utf8proc_totitle(
                  static_cast<utf8proc_int32_t>(code_point(text.substr(0, first))))),
              out);
  return out + lower(text.substr(first));
}

std::string_view strip(std::string_view text, Side side, const std::string_view* of) {
  const std::vector<std::string_view> set = of ? characters(*of) : std::vector<std::string_view>{};
  const auto stripped = [&](std::string_view c) {
    return of ? std::find(set.begin(), set.end(), c) != set.end() : is_space(code_point(c));
  };
  if (side != Side::kRight) {
    while (!text.empty()) {
      const size_t size = bytes_at(text, 0);
      if (!stripped(text.substr(0, size))) break;
      text.remove_prefix(size);
    }
  }
  if (side != Side::kLeft) {
    while (!text.empty()) {
      const size_t size = bytes_before(text);
      if (!stripped(text.substr(text.size() - size))) break;
      text.remove_suffix(size);
    }
  }
  return text;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    size_t end = at + bytes_at(text, at);
    if (is_line_break(code_point(text.substr(at)))) {
      if (text[at] == '\r' && end < text.size() && text[end] == '\n') ++end;
      lines.push_back(text.substr(begin, (keep_ends ? end : at) - begin));
      begin = end;
    }
    at = end;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

}  // namespace ponder::policy::jinja

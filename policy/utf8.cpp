#include "policy/utf8.h"

#include <algorithm>
#include <cstring>

namespace ponder::policy {
namespace {

struct Lead {
  int length;         // 0: not a lead byte
  unsigned char low;  // range of the second byte, which excludes overlong forms, surrogates and
                      // beyond U+10FFFF
  unsigned char high;
};

Lead lead_of(unsigned char byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte < 0xF0)
    return {3, static_cast<unsigned char>(byte == 0xE0 ? 0xA0 : 0x80),
            static_cast<unsigned char>(byte == 0xED ? 0x9F : 0xBF)};
  if (byte < 0xF5)
    return {4, static_cast<unsigned char>(byte == 0xF0 ? 0x90 : 0x80),
            static_cast<unsigned char>(byte == 0xF4 ? 0x8F : 0xBF)};
  return {0, 0, 0};
}

// Length of the longest part of a character that starts `text`, whose lead byte is `lead` (length
// >= 1).
int valid_bytes(std::string_view text, const Lead& lead) {
  int count = 1;
  while (count < lead.length && static_cast<size_t>(count) < text.size()) {
    const auto byte = static_cast<unsigned char>(text[count]);
    const unsigned char low = count == 1 ? lead.low : 0x80;
    const unsigned char high = count == 1 ? lead.high : 0xBF;
    if (byte < low || byte > high) break;
    ++count;
  }
  return count;
}

}  // namespace

CodePoint next_code_point(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  if (first < 0x80) return {first, 1};
  const Lead lead = lead_of(first);
  if (lead.length == 0) return {0xFFFD, -1};
  const int count = valid_bytes(text, lead);
  if (count < lead.length) return {0xFFFD, -count};
  char32_t value = first & (0xFF >> (lead.length + 1));
  for (int i = 1; i < count; ++i) value = value << 6 | (static_cast<unsigned char>(text[i]) & 0x3F);
  return {value, count};
}

size_t ascii_prefix(std::string_view text) {
  size_t i = 0;
  uint64_t word = 0;
  for (; i + sizeof word <= text.size(); i += sizeof word) {
    std::memcpy(&word, text.data() + i, sizeof word);
    if ((word & 0x8080808080808080ull) != 0) break;
  }
  while (i < text.size() && static_cast<unsigned char>(text[i]) < 0x80) ++i;
  return i;
}

bool is_utf8(std::string_view text) {
  for (;;) {
    text.remove_prefix(ascii_prefix(text));
    if (text.empty()) return true;
    const CodePoint point = next_code_point(text);
    if (point.bytes < 0) return false;
    text.remove_prefix(point.bytes);
  }
}

std::string replace_ill_formed(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const CodePoint point = next_code_point(text);
    const size_t length = std::abs(point.bytes);
    result += point.bytes < 0 ? std::string_view("\xEF\xBF\xBD") : text.substr(0, length);
    text.remove_prefix(length);
  }
  return result;
}

size_t unfinished_suffix(std::string_view text) {
  for (size_t back = 1; back <= std::min<size_t>(3, text.size()); ++back) {
    const std::string_view tail = text.substr(text.size() - back);
    const Lead lead = lead_of(static_cast<unsigned char>(tail[0]));
    if (lead.length <= 1) {
      if (lead.length == 1) return 0;
      continue;  // a continuation byte, or one that starts nothing
    }
    return valid_bytes(tail, lead) == static_cast<int>(back) && lead.length > static_cast<int>(back)
               ? back
               : 0;
  }
  return 0;
}

void append_utf8(char32_t code_point, std::string& text) {
  const auto put = [&](char32_t byte) { text += static_cast<char>(byte); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | code_point >> 6);
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | code_point >> 12);
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | code_point >> 18);
    put(0x80 | (code_point >> 12 & 0x3F));
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

}  // namespace ponder::policy

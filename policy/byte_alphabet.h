// GPT-2's printable spelling of bytes (openai/gpt-2, encoder.py, bytes_to_unicode): each byte is
// one character, bytes that print as themselves, the other 68 as U+0100 and following.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "policy/utf8.h"

namespace ponder::policy {

struct ByteAlphabet {
  std::array<std::string, 256> spelling;    // UTF-8 of each byte's character
  std::array<int16_t, 0x144> byte_of = {};  // by code point; -1: not in the alphabet

  static const ByteAlphabet& instance() {
    static const ByteAlphabet alphabet;
    return alphabet;
  }

  // The bytes that `token` spells, or none when one of its characters is not of the alphabet.
  std::optional<std::string> bytes(std::string_view token) const {
    std::string result;
    while (!token.empty()) {
      const CodePoint point = next_code_point(token);
      if (point.bytes < 0 || point.value >= byte_of.size() || byte_of[point.value] < 0)
        return std::nullopt;
      result += static_cast<char>(byte_of[point.value]);
      token.remove_prefix(point.bytes);
    }
    return result;
  }

 private:
  ByteAlphabet() {
    byte_of.fill(-1);
    char32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const bool prints = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte != 0xAD);
      const char32_t character = prints ? static_cast<char32_t>(byte) : next++;
      append_utf8(character, spelling[byte]);
      byte_of[character] = static_cast<int16_t>(byte);
    }
  }
};

}  // namespace ponder::policy

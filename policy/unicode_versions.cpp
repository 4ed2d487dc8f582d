#include "policy/unicode_versions.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "policy/unicode_tables.h"
#include "policy/utf8.h"

namespace ponder::policy {
namespace {

// Which blocks of 256 code points hold any of `ranges`: most text is done after one look here a
// character.
template <typename Ranges>
std::array<bool, 0x1100> pages_of(const Ranges& ranges) {
  std::array<bool, 0x1100> pages = {};
  for (const auto& range : ranges) {
    for (char32_t page = range.first >> 8; page <= range.last >> 8; ++page) pages[page] = true;
  }
  return pages;
}

template <typename Ranges>
auto range_with(const Ranges& ranges, char32_t code_point) {
  const auto found =
      std::lower_bound(std::begin(ranges), std::end(ranges), code_point,
                       [](const auto& range, char32_t point) { return range.last < point; });
  return found != std::end(ranges) && found->first <= code_point ? found : std::end(ranges);
}

const auto& newer_pages() {
  static const auto pages = pages_of(kNewerCategories);
  return pages;
}

const auto& inert_pages() {
  static const auto pages = pages_of(kInertInNormalForms);
  return pages;
}

// Offset of the first character of `text` at or after `from` that is in `ranges`, or npos.
template <typename Ranges>
size_t find_in(const Ranges& ranges, const std::array<bool, 0x1100>& pages, std::string_view text,
               size_t from) {
  while (from < text.size()) {
    const std::string_view rest = text.substr(from);
    if (static_cast<unsigned char>(rest[0]) < 0x80) {
      from += ascii_prefix(rest);
      continue;
    }
    const CodePoint point = next_code_point(rest);
    if (pages[point.value >> 8] && range_with(ranges, point.value) != std::end(ranges)) return from;
    from += point.bytes;
  }
  return std::string_view::npos;
}

}  // namespace

size_t find_newer_category(std::string_view text) {
  return find_in(kNewerCategories, newer_pages(), text, 0);
}

std::string with_stand_ins(std::string_view text) {
  std::string result(text);
  for (size_t at = 0;
       (at = find_in(kNewerCategories, newer_pages(), text, at)) != std::string_view::npos;) {
    const CodePoint point = next_code_point(text.substr(at));
    std::string stand_in;
    append_utf8(range_with(kNewerCategories, point.value)->stand_in, stand_in);
    result.replace(at, point.bytes, stand_in);
    at += point.bytes;
  }
  return result;
}

std::vector<NormalStretch> cut_at_inert(std::string_view text) {
  std::vector<NormalStretch> stretches;
  size_t done = 0;
  for (size_t at = 0;
       (at = find_in(kInertInNormalForms, inert_pages(), text, at)) != std::string_view::npos;) {
    const size_t length = next_code_point(text.substr(at)).bytes;
    if (at > done) stretches.push_back({text.substr(done, at - done), false});
    stretches.push_back({text.substr(at, length), true});
    done = at += length;
  }
  if (done < text.size()) stretches.push_back({text.substr(done), false});
  return stretches;
}

char32_t newer_lower_case(char32_t letter) {
  const auto range = range_with(kNewerLowerCases, letter);
  return range == std::end(kNewerLowerCases) ? letter : letter + range->distance;
}

}  // namespace ponder::policy

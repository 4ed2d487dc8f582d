#include "policy/normalizer.h"

#include <cstdlib>
#include <memory>
#include <optional>

#include <utf8proc.h>

#include "policy/unicode_regex.h"
#include "policy/unicode_versions.h"
#include "policy/utf8.h"

namespace ponder::policy {
namespace {

using Step = std::function<void(std::string&)>;

// Below U+0300 every text is in NFC (UAX #15, quick check).
bool is_surely_nfc(std::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 0xCC) return false;
  }
  return true;
}

// Appends `text` in the form that utf8proc's options name.
void append_form(std::string_view text, int form, std::string& result) {
  utf8proc_uint8_t* mapped = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &mapped,
                   static_cast<utf8proc_option_t>(form | UTF8PROC_STABLE));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(mapped, &std::free);
  if (size < 0) core::throw_run("Unicode normalization failed: {}", utf8proc_errmsg(size));
  result.append(reinterpret_cast<const char*>(mapped), static_cast<size_t>(size));
}

void unicode_form(std::string& text, int form) {
  std::string result;
  for (const NormalStretch& stretch : cut_at_inert(text)) {
    if (stretch.inert) {
      result += stretch.text;
    } else {
      append_form(stretch.text, form, result);
    }
  }
  text = std::move(result);
}

void lowercase(std::string& text) {
  std::string lower;
  for (std::string_view rest = text; !rest.empty();) {
    const CodePoint point = next_code_point(rest);
    rest.remove_prefix(point.bytes);
    if (point.value == 0x130) {
      lower += "i\xCC\x87";  // the one character whose lower case is two
    } else {
      const auto lowered =
          static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(point.value)));
      append_utf8(lowered == point.value ? newer_lower_case(point.value) : lowered, lower);
    }
  }
  text = std::move(lower);
}

Step replace_step(const JsonPlace& component) {
  const JsonPlace pattern = component.field("pattern");
  const JsonPlace string = pattern.field("String");
  const UnicodeRegex regex = string.is_null()
                                 ? UnicodeRegex(pattern.field("Regex").text(), pattern.place())
                                 : UnicodeRegex::literal(string.text(), pattern.place());
  return [regex, content = component.field("content").text()](std::string& text) {
    std::vector<Match> matches;
    regex.find_all(text, matches);
    std::string result;
    size_t position = 0;
    for (const Match& match : matches) {
      result.append(text, position, match.begin - position).append(content);
      position = match.end;
    }
    text = result.append(text, position);
  };
}

Step strip_step(const JsonPlace& component) {
  const std::string pattern =
      fmt::format("{}{}{}", component.field("strip_left").boolean_or(true) ? R"(\A\s+)" : "(?!)",
                  "|", component.field("strip_right").boolean_or(true) ? R"(\s+\z)" : "(?!)");
  const UnicodeRegex regex(pattern, component.place());
  return [regex](std::string& text) {
    std::vector<Match> matches;
    regex.find_all(text, matches);
    for (auto match = matches.rbegin(); match != matches.rend(); ++match) {
      text.erase(match->begin, match->end - match->begin);
    }
  };
}

Step make_step(const JsonPlace& component) {
  const std::string type = component.field("type").text();
  if (type == "NFC") {
    return [](std::string& text) {
      if (!is_surely_nfc(text)) unicode_form(text, UTF8PROC_COMPOSE);
    };
  }
  if (type == "NFD") return [](std::string& text) { unicode_form(text, UTF8PROC_DECOMPOSE); };
  if (type == "NFKC")
    return [](std::string& text) { unicode_form(text, UTF8PROC_COMPOSE | UTF8PROC_COMPAT); };
  if (type == "NFKD")
    return [](std::string& text) { unicode_form(text, UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT); };
  if (type == "Lowercase") return lowercase;
  if (type == "Replace") return replace_step(component);
  if (type == "Strip") return strip_step(component);
  if (type == "Prepend") {
    return [prefix = component.field("prepend").text()](std::string& text) {
      if (!text.empty()) text.insert(0, prefix);
    };
  }
  core::throw_user(
      "{}: unknown normalizer '{}', expected NFC, NFD, NFKC, NFKD, Lowercase, Replace, Strip, "
      "Prepend or Sequence",
      component.place(), type);
}

}  // namespace

Normalizer::Normalizer(const JsonPlace& component) {
  std::vector<JsonPlace> parts;
  flatten_sequence(component, "normalizers", parts);
  for (const JsonPlace& part : parts) steps_.push_back(make_step(part));
}

std::string Normalizer::operator()(std::string_view text) const {
  std::string result(text);
  for (const Step& step : steps_) step(result);
  return result;
}

}  // namespace ponder::policy

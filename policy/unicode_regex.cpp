#define PCRE2_CODE_UNIT_WIDTH 8
#include "policy/unicode_regex.h"

#include <pcre2.h>

#include "core/error.h"
#include "policy/unicode_versions.h"
#include "policy/utf8.h"

namespace ponder::policy {
namespace {

// Oniguruma's \s is the property White_Space; PCRE2's also has U+180E.
constexpr std::string_view kSpaces =
    R"(\x{9}-\x{D}\x{20}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";
// Its \w, in Latin-1 from a table of its own (hence the superscripts and fractions).
constexpr std::string_view kWord =
    R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE})";

// Rewrites a pattern from left to right; members are the reading position and what has been
// written.
class Translator {
 public:
  Translator(std::string_view pattern, const std::string& place)
      : pattern_(pattern), place_(place) {}

  std::string run() {
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c == '\\') {
        escape(false);
      } else if (c == '[') {
        character_class();
      } else if (c == '}' && at_ + 1 < pattern_.size() && pattern_[at_ + 1] == '+') {
        refuse("'+' after an interval");
      } else {
        result_ += c;
        ++at_;
      }
    }
    return std::move(result_);
  }

 private:
  [[noreturn]] void refuse(std::string_view what) {
    core::throw_user(
        "{}: {} at byte {} of the regex is read differently by different engines and not "
        "supported: {}",
        place_, what, at_, pattern_);
  }

  void escape(bool in_class) {
    if (at_ + 1 >= pattern_.size())
      core::throw_user("{}: the regex ends in a backslash: {}", place_, pattern_);
    const char c = pattern_[at_ + 1];
    if (c == 's' || c == 'S') {
      space(c == 'S', in_class);
    } else if (c == 'w' || c == 'W') {
      if (in_class && c == 'W') refuse("\\W within a class");
      result_ += in_class ? std::string(kWord) : fmt::format("[{}{}]", c == 'W' ? "^" : "", kWord);
    } else if (c == 'h' || c == 'H') {
      if (in_class && c == 'H') refuse("\\H within a class");
      result_ += in_class ? "0-9a-fA-F" : c == 'h' ? "[0-9a-fA-F]" : "[^0-9a-fA-F]";
    } else if (c == 'p' || c == 'P') {
      property();
      return;
    } else if (c == 'b' && !in_class) {
      result_ += fmt::format("(?:(?<=[{0}])(?![{0}])|(?<![{0}])(?=[{0}]))", kWord);
    } else {
      result_ += pattern_.substr(at_, 2);
    }
    at_ += 2;
  }

  void space(bool negated, bool in_class) {
    if (!in_class) {
      result_ += fmt::format("[{}{}]", negated ? "^" : "", kSpaces);
    } else if (negated) {
      result_ += R"(\S\x{180E})";
    } else {
      result_ += kSpaces;
    }
  }

  // \p{L}, \p{^L}, \P{Han}: general categories as they are, scripts by the property Script (PCRE2
  // would take Script_Extensions).
  void property() {
    const size_t close = pattern_.find('}', at_);
    if (at_ + 2 >= pattern_.size() || pattern_[at_ + 2] != '{' || close == std::string_view::npos) {
      refuse("a property without braces");
    }
    std::string_view name = pattern_.substr(at_ + 3, close - at_ - 3);
    bool negated = pattern_[at_ + 1] == 'P';
    if (name.starts_with('^')) {
      negated = !negated;
      name.remove_prefix(1);
    }
    const bool category = name.size() <= 2 && name != "Lc";
    static constexpr std::string_view kBinary[] = {"Alphabetic", "White_Space", "Any",
                                                   "Emoji",      "Lowercase",   "Uppercase"};
    bool as_is = category;
    for (const std::string_view binary : kBinary) as_is |= name == binary;
    static constexpr std::pair<std::string_view, std::string_view> kLong[] = {
        {"Letter", "L"}, {"Number", "N"},    {"Punctuation", "P"},    {"Symbol", "S"},
        {"Mark", "M"},   {"Separator", "Z"}, {"Other", "C"},          {"Alpha", "Alphabetic"},
        {"Digit", "Nd"}, {"Punct", "P"},     {"Space", "White_Space"}};
    for (const auto& [name_in, name_out] : kLong) {
      if (name == name_in) {
        name = name_out;
        as_is = true;
      }
    }
    result_ += fmt::format("\\{}{{{}{}}}", negated ? 'P' : 'p', as_is ? "" : "sc:", name);
    at_ = close + 1;
  }

  void character_class() {
    result_ += '[';
    ++at_;
    if (at_ < pattern_.size() && pattern_[at_] == '^') {
      result_ += '^';
      ++at_;
    }
    bool first = true;
    for (; at_ < pattern_.size(); first = false) {
      const char c = pattern_[at_];
      if (c == ']' && !first) {
        result_ += ']';
        ++at_;
        return;
      }
      if (c == '\\') {
        escape(true);
        continue;
      }
      if (c == '[') refuse("a class within a class");
      if (c == '&' && pattern_.substr(at_, 2) == "&&") refuse("an intersection of classes");
      result_ += c == ']' ? "\\]" : std::string(1, c);
      ++at_;
    }
    core::throw_user("{}: a character class of the regex has no end: {}", place_, pattern_);
  }

  std::string_view pattern_;
  const std::string& place_;
  size_t at_ = 0;
  std::string result_;
};

std::string pcre2_message(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

// What one thread needs to match: PCRE2's own advice is one of each a thread.
struct Scratch {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(32 << 10, 16 << 20, nullptr);
  Scratch() { pcre2_jit_stack_assign(context, nullptr, stack); }
  ~Scratch() {
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
};

}  // namespace

std::string to_pcre2(std::string_view oniguruma, const std::string& place) {
  return Translator(oniguruma, place).run();
}

UnicodeRegex::UnicodeRegex(std::string_view pattern, const std::string& place) : place_(place) {
  if (!is_utf8(pattern)) core::throw_user("{}: the regex is not UTF-8", place);
  const std::string translated = to_pcre2(pattern, place);
  int error = 0;
  size_t offset = 0;
  // Ruby's ^ and $ match at every line.
  pcre2_code* code = pcre2_compile(
      reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr);
  if (code == nullptr)
    core::throw_user("{}: the regex does not compile: {}: {}", place, pcre2_message(error),
                     pattern);
  code_ =
      std::shared_ptr<void>(code, [](void* p) { pcre2_code_free(static_cast<pcre2_code*>(p)); });
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // where there is no JIT pcre2_match interprets
}

UnicodeRegex UnicodeRegex::literal(std::string_view text, const std::string& place) {
  std::string pattern;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x80 && std::isalnum(static_cast<unsigned char>(c)) == 0) {
      pattern += fmt::format("\\x{{{:X}}}", static_cast<int>(c));
    } else {
      pattern += c;
    }
  }
  return {pattern, place};
}

void UnicodeRegex::find_all(std::string_view text, std::vector<Match>& matches) const {
  thread_local Scratch scratch;
  matches.clear();
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  std::string stand_ins;
  if (find_newer_category(text) != std::string_view::npos) text = stand_ins = with_stand_ins(text);
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const size_t* bounds = pcre2_get_ovector_pointer(scratch.data);
  size_t position = 0;
  while (position <= text.size()) {
    int rc = pcre2_match(code, subject, text.size(), position, PCRE2_NO_UTF_CHECK, scratch.data,
                         scratch.context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
      rc = pcre2_match(code, subject, text.size(), position, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                       scratch.data, scratch.context);
    }
    if (rc == PCRE2_ERROR_NOMATCH) return;
    if (rc < 0)
      core::throw_user("{}: the regex gave up on a text of {} bytes: {}", place_, text.size(),
                       pcre2_message(rc));
    const Match match{bounds[0], bounds[1]};
    if (match.begin == match.end && !matches.empty() && matches.back().end == match.end) {
      if (position >= text.size()) return;
      position += next_code_point(text.substr(position)).bytes;
      continue;
    }
    matches.push_back(match);
    position = match.end;
  }
}

}  // namespace ponder::policy

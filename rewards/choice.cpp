#include "rewards/choice.h"

#include <fmt/format.h>

#include "rewards/math/extract.h"
#include "rewards/math/lexer.h"
#include "rewards/math/words.h"

namespace ponder::rewards {
namespace {

bool is_letter(char c) {
  return (c | 32) >= 'a' && (c | 32) <= 'z';
}
bool is_choice(char c) {
  return c >= 'A' && c <= 'J';
}

// "B", "(b)", "B. Paris", "B) 12".
char leading_choice(std::string_view text) {
  bool marked = false;
  const std::string words = math::plain_words(math::normalise(text), &marked);
  const size_t start = !words.empty() && words[0] == '(' ? 1 : 0;
  if (start >= words.size() || !is_letter(words[start])) return 0;
  const char next = start + 1 < words.size() ? words[start + 1] : '\0';
  if (next != '\0' && next != ')' && next != '.' && next != ':' && next != ',') return 0;
  const char letter = static_cast<char>(words[start] & ~32);
  return is_choice(letter) ? letter : 0;
}

// The last capital that stands alone; "A" before a word is an article, and I a pronoun.
char last_lone_capital(std::string_view text) {
  for (size_t i = text.size(); i-- > 0;) {
    const char c = text[i];
    if (!is_choice(c) || c == 'I') continue;
    const bool alone =
        (i == 0 || !is_letter(text[i - 1])) && (i + 1 == text.size() || !is_letter(text[i + 1]));
    if (!alone || (i > 0 && text[i - 1] == '\\')) continue;
    const bool article =
        c == 'A' && i + 2 < text.size() && text[i + 1] == ' ' && is_letter(text[i + 2]);
    if (!article) return c;
  }
  return 0;
}

std::string collapsed(std::string_view text, bool match_case) {
  std::string out;
  for (char c : text) {
    const bool blank = c == ' ' || (c >= '\t' && c <= '\r');
    if (blank && (out.empty() || out.back() == ' ')) continue;
    const bool upper = c >= 'A' && c <= 'Z';
    out += blank ? ' ' : upper && !match_case ? static_cast<char>(c | 32) : c;
  }
  while (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

}  // namespace

char chosen_letter(std::string_view completion) {
  const math::Extracted found = math::extract_answer(completion);
  if (found.found == math::Found::kNothing || found.found == math::Found::kMalformed) return 0;
  if (const char letter = leading_choice(found.text)) return letter;
  const bool sure = found.found == math::Found::kBox || found.found == math::Found::kMarker;
  return sure ? '\0' : last_lone_capital(found.text);
}

MathVerdict check_choice(std::string_view completion, std::string_view gold) {
  const char wanted = leading_choice(math::extract_gold(gold).text);
  if (wanted == 0) return {MathStatus::kUnparsedGold, {}, "the gold is no letter from A to J"};
  const char given = chosen_letter(completion);
  if (given == 0) return {MathStatus::kUnparsed, {}, "no letter is chosen"};
  return {given == wanted ? MathStatus::kRight : MathStatus::kWrong, std::string(1, given),
          fmt::format("answer {}, expected {}", given, wanted)};
}

MathVerdict check_exact(std::string_view completion, std::string_view gold, bool match_case) {
  const math::Extracted found = math::extract_answer(completion);
  if (found.found == math::Found::kNothing || found.found == math::Found::kMalformed) {
    return {MathStatus::kUnparsed, {}, "no answer found"};
  }
  const bool same = collapsed(found.text, match_case) == collapsed(gold, match_case);
  return {same ? MathStatus::kRight : MathStatus::kWrong, found.text.substr(0, 200),
          same ? "the same text" : "another text"};
}

}  // namespace ponder::rewards

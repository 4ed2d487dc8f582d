#include "rewards/math/words.h"

#include <algorithm>
#include <array>

namespace ponder::rewards::math {
namespace {

constexpr size_t kMaxBytes = 400;
constexpr size_t kWordLetters =
    3;  // a run this long is a word even outside \text: shorter ones may be variables

bool is_letter(char c) {
  return (c | 32) >= 'a' && (c | 32) <= 'z';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_text_command(std::string_view name) {
  static constexpr std::array<std::string_view, 16> kNames = {
      "text",   "textbf", "textit",       "textrm", "textnormal", "mbox", "mathrm", "mathbf",
      "mathit", "mathsf", "operatorname", "texttt", "textsf",     "emph", "boxed",  "underline"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

std::string lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return text;
}

size_t longest_run(std::string_view text) {
  size_t longest = 0, run = 0;
  for (char c : text) {
    run = is_letter(c) ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  return longest;
}

// The letter of "C", "(C)", "C)", "(C) 12", "C. twelve"; 0 if it is no choice. `alone`: nothing
// follows.
char choice(std::string_view words, bool* alone) {
  for (std::string_view lead : {"Choice ", "choice ", "Option ", "option "}) {
    if (words.starts_with(lead)) words.remove_prefix(lead.size());
  }
  size_t i = 0;
  const bool open = !words.empty() && words[0] == '(';
  if (open) ++i;
  if (i >= words.size() || !is_letter(words[i])) return 0;
  const char letter = words[i++];
  *alone = i == words.size();
  if (*alone) return open ? 0 : letter;
  const bool closed = words[i] == ')' || (!open && (words[i] == '.' || words[i] == ':'));
  if (!closed) return 0;
  *alone = i + 1 == words.size();
  return letter;
}

}  // namespace

std::string plain_words(std::string_view text, bool* marked) {
  std::string out;
  if (text.size() > kMaxBytes) return out;
  int groups = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (is_letter(c) || is_digit(c)) {
      out += c;
      if (groups > 0 && is_letter(c)) *marked = true;
    } else if (c == '\\') {
      size_t end = i + 1;
      while (end < text.size() && is_letter(text[end])) ++end;
      const std::string_view name = text.substr(i + 1, end - i - 1);
      if (name.empty()) {  // "\ ", "\,", "\&"
        if (end >= text.size()) return "";
        if (text[end] != '&' && text[end] != ' ' && text[end] != ',' && text[end] != '!' &&
            text[end] != ';')
          return "";
        out += ' ';
        i = end;
        continue;
      }
      if (!is_text_command(name)) return "";
      while (end < text.size() && text[end] == ' ') ++end;
      if (end >= text.size() || text[end] != '{') return "";
      ++groups;
      i = end;
    } else if (c == '}') {
      if (groups > 0) --groups;
    } else if (c == ' ' || c == '~') {
      out += ' ';
    } else if (c == '{' || c == '$' || c == '"' || c == '`') {
      continue;
    } else if (std::string_view(".,;:()'-/?!&").find(c) != std::string_view::npos ||
               static_cast<unsigned char>(c) >= 0x80) {
      out += c;
    } else {
      return "";
    }
  }
  std::string collapsed;
  for (char c : out) {
    if (c == ' ' && (collapsed.empty() || collapsed.back() == ' ')) continue;
    collapsed += c;
  }
  // "Yes!" is a word, "n!" is not.
  const std::string_view ends = longest_run(collapsed) >= kWordLetters ? " .,;:!?" : " .,;:";
  while (!collapsed.empty() && ends.find(collapsed.back()) != std::string_view::npos) {
    collapsed.pop_back();
  }
  return collapsed;
}

bool same_words(std::string_view gold, std::string_view answer) {
  bool gold_marked = false, answer_marked = false;
  const std::string wanted = plain_words(gold, &gold_marked);
  const std::string given = plain_words(answer, &answer_marked);
  if (wanted.empty() || given.empty()) return false;
  const auto letters = std::count_if(wanted.begin(), wanted.end(), is_letter);
  if (letters == 0) return false;
  if (wanted == given) return true;
  bool wanted_alone = false, given_alone = false;
  const char wanted_choice = choice(wanted, &wanted_alone),
             given_choice = choice(given, &given_alone);
  if (wanted_choice != 0 && wanted_alone) {
    const bool bracketed = wanted.size() > 1 || given.size() > 1;
    if (!gold_marked && !bracketed && !answer_marked) return wanted_choice == given_choice;
    return given_choice != 0 && (wanted_choice | 32) == (given_choice | 32) &&
           (given_alone || wanted_choice <= 'J');
  }
  // "(B) 12" is chosen by "B".
  if (wanted_choice >= 'A' && wanted_choice <= 'J' && given_choice != 0 && given_alone)
    return (wanted_choice | 32) == (given_choice | 32);
  const bool words = gold_marked || answer_marked || longest_run(wanted) >= kWordLetters;
  return words && longest_run(wanted) > 1 && lower(wanted) == lower(given);
}

}  // namespace ponder::rewards::math

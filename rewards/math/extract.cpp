#include "rewards/math/extract.h"

#include <algorithm>
#include <array>
#include <vector>

#include "rewards/math/boxes.h"
#include "rewards/math/lexer_names.h"

namespace ponder::rewards::math {
namespace {

using std::string_view;
constexpr size_t npos = string_view::npos;

constexpr size_t kMaxAnchored = 2000;
constexpr size_t kMaxFormula = 4000;
constexpr size_t kMaxBare = 400;
constexpr size_t kMaxStatement = 60;

// Case-insensitive for lower-case ASCII needles.
bool starts_with(string_view text, string_view needle) {
  if (text.size() < needle.size()) return false;
  for (size_t i = 0; i < needle.size(); ++i) {
    const char c = text[i] >= 'A' && text[i] <= 'Z' ? static_cast<char>(text[i] + 32) : text[i];
    if (c != needle[i]) return false;
  }
  return true;
}

// Past words that say nothing: "therefore", "simply".
size_t skip_adverbs(string_view text, size_t start) {
  for (bool again = true; again;) {
    again = false;
    for (string_view word :
         {"therefore", "thus", "then", "hence", "simply", "just", "indeed", "exactly", "clearly",
          "equal to", "given by", "also", "now", "still"}) {
      const string_view rest = text.substr(start);
      if (!starts_with(rest, word) || rest.size() <= word.size()) continue;
      const char next = rest[word.size()];
      if (!is_blank(next) && next != ',' && next != ':') continue;
      start += word.size() + 1;
      while (start < text.size() && is_blank(text[start])) ++start;
      again = true;
    }
  }
  return start;
}

// Where the text behind the last "answer is", "answer:" starts, or npos;
// `denied` is where the last one starts that says what the answer is not.
size_t last_anchor(string_view text, size_t* denied = nullptr) {
  for (size_t limit = text.size(); limit > 0;) {
    const size_t found = text.substr(0, limit).rfind("nswer");
    if (found == npos) break;
    limit = found;
    size_t i = found + 5;
    if (i < text.size() && text[i] == 's') ++i;
    while (i < text.size() && (is_blank(text[i]) || text[i] == '*')) ++i;
    const string_view rest = text.substr(i);
    size_t length = 0;
    for (string_view verb :
         {":", "=", "is:", "are:", "is", "are", "would be", "will be", "should be", "must be"}) {
      if (starts_with(rest, verb)) {
        length = verb.size();
        break;
      }
    }
    if (length == 0 ||
        (is_letter(rest[length - 1]) && rest.size() > length && is_letter(rest[length])))
      continue;
    size_t start = i + length;
    while (start < text.size() &&
           (is_blank(text[start]) || text[start] == '*' || text[start] == ':'))
      ++start;
    start = skip_adverbs(text, start);
    const bool no = starts_with(text.substr(start), "not ");
    if (no && denied != nullptr && *denied == npos) *denied = start;
    if (no || start >= text.size()) continue;
    return start;
  }
  return npos;
}

// The first sentence, a formula in $..$ counting as one thing.
string_view first_sentence(string_view text) {
  text = text.substr(0, kMaxAnchored);
  bool formula = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\\') {
      if (i + 1 < text.size() && (text[i + 1] == '(' || text[i + 1] == '[')) formula = true;
      if (i + 1 < text.size() && (text[i + 1] == ')' || text[i + 1] == ']')) formula = false;
      ++i;
    } else if (c == '$') {
      formula = !formula;
    } else if (!formula && (c == '\n' || ((c == '.' || c == '?') &&
                                          (i + 1 == text.size() || is_blank(text[i + 1]) ||
                                           text[i + 1] == '*')))) {
      return text.substr(0, i);
    }
  }
  return text;
}

struct Formula {
  size_t start = npos, end = npos;
  string_view content;
};

// The last $..$, $$..$$, \(..\), \[..\] or equation environment.
Formula last_formula(string_view text) {
  Formula best;
  const auto offer = [&](size_t start, size_t content, size_t content_end, size_t end) {
    if (content_end < content || content_end - content > kMaxFormula) return;
    if (trim(text.substr(content, content_end - content)).empty()) return;
    if (best.end == npos || end > best.end)
      best = {start, end, text.substr(content, content_end - content)};
  };
  for (const auto& [open, close] :
       {std::pair<string_view, string_view>{"\\(", "\\)"}, {"\\[", "\\]"}}) {
    const size_t end = text.rfind(close);
    const size_t start = end == npos ? npos : text.substr(0, end).rfind(open);
    if (start != npos) offer(start, start + 2, end, end + 2);
  }
  const auto dollar_before = [&](size_t limit) {
    while (true) {
      const size_t found = text.substr(0, limit).rfind('$');
      if (found == npos || found == 0 || text[found - 1] != '\\') return found;
      limit = found;
    }
  };
  const size_t close = dollar_before(text.size());
  if (close != npos && close > 0) {
    const bool doubled = text[close - 1] == '$';
    const size_t open = dollar_before(doubled ? close - 1 : close);
    if (open != npos) offer(open, open + 1, doubled ? close - 1 : close, close + 1);
  }
  return best;
}

// The formulas at the end of a sentence if only connectives stand between them, else the last one.
string_view formulas_of(string_view text) {
  const Formula last = last_formula(text);
  if (last.end == npos) return {};
  size_t start = last.start;
  for (size_t joined = 1; joined < kMaxJoined && start > 0; ++joined) {
    // Only what may still be joined is searched.
    const size_t window = start > kMaxGap + kMaxFormula ? start - kMaxGap - kMaxFormula : 0;
    Formula before = last_formula(text.substr(window, start - window));
    if (before.end == npos) break;
    before.start += window;
    before.end += window;
    if (!joins(text.substr(before.end, start - before.end))) break;
    start = before.start;
  }
  return start == last.start ? last.content : text.substr(start, last.end - start);
}

// The text opens with words of a sentence: letters in a row that are no known name, before any
// number or formula.
bool starts_with_prose(string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (is_digit(text[i]) || text[i] == '$' || text[i] == '\\') return false;
    if (!is_letter(text[i])) continue;
    size_t end = i;
    while (end < text.size() && is_letter(text[end])) ++end;
    const string_view run = text.substr(i, end - i);
    const bool article =
        run.size() == 1 && end + 1 < text.size() && text[end] == ' ' && is_letter(text[end + 1]);
    if (!article) return run.size() >= 2 && run != "in" && find_word(run) == nullptr;
    i = end;
  }
  return false;
}

// Words of prose before and behind a value: "the number 5", "5 because ..".
string_view without_prose(string_view text) {
  for (string_view stop :
       {" because", " since", ", which", ", where", ", so", ", as ", " (", " when ", ", i.e"}) {
    const size_t found = text.find(stop);
    if (found != npos && found > 0 &&
        (stop != " (" || (found + 2 < text.size() && is_letter(text[found + 2]) &&
                          found + 3 < text.size() && is_letter(text[found + 3])))) {
      text = text.substr(0, found);
    }
  }
  const size_t verb = text.rfind(" is ");
  if (verb != npos) text = text.substr(verb + 4);
  text = trim(text);
  while (!text.empty() && text.back() == '*') text.remove_suffix(1);  // **bold**
  while (!text.empty() && text.front() == '*') text.remove_prefix(1);
  return trim(text);
}

// "The point is (1, 2).", "Thus, f(x) = x^2 + 1.": what the last sentence says after its verb or
// sign.
string_view last_statement(string_view text) {
  text = trim(text);
  const string_view tail = text.substr(text.size() > kMaxBare ? text.size() - kMaxBare : 0);
  size_t start = npos;
  for (string_view verb : {" is ", " are ", "="}) {
    const size_t found = tail.rfind(verb);
    if (found != npos && (start == npos || found + verb.size() > start))
      start = found + verb.size();
  }
  if (start == npos) return {};
  const string_view statement = tail.substr(start);
  const string_view sentence = first_sentence(statement);
  if (sentence.size() + 2 < statement.size() || sentence.size() > kMaxStatement) return {};
  if (starts_with_prose(sentence)) return {};
  // "429 apples and 3 pears, so 432": what is cut off says more.
  const string_view kept = without_prose(sentence);
  const auto end = static_cast<size_t>(kept.data() + kept.size() - sentence.data());
  return last_number(sentence.substr(end)).empty() ? kept : string_view{};
}

// The whole text is one answer: short, on one line, and either mathematics or a few words.
bool is_bare(string_view text) {
  if (text.empty() || text.size() > kMaxBare || text.find('\n') != npos) return false;
  const auto words = 1 + std::count(text.begin(), text.end(), ' ');
  const bool formula =
      text.find_first_of("$\\") != npos || std::any_of(text.begin(), text.end(), is_digit);
  if (starts_with_prose(text)) return !formula && words <= 4;
  // A formula followed by a sentence is no bare answer.
  return text.find(". ") == npos && words <= 60;
}

Extracted marked(string_view text) {
  const size_t hashes = text.rfind("####");
  if (hashes != npos) {
    const string_view rest = text.substr(hashes + 4);
    const string_view line = trim(rest.substr(0, rest.find('\n')));
    if (!line.empty()) return {Found::kMarker, std::string(line)};
  }
  for (size_t limit = text.size(); limit > 0;) {
    const size_t found = text.substr(0, limit).rfind("A:");
    if (found == npos) break;
    limit = found;
    if (found != 0 && text[found - 1] != '\n') continue;
    const string_view rest = text.substr(found + 2);
    const string_view line = trim(rest.substr(0, rest.find('\n')));
    if (!line.empty() && line.size() < kMaxAnchored) return {Found::kMarker, std::string(line)};
  }
  return {};
}

Extracted anchored(string_view text) {
  const size_t anchor = last_anchor(text);
  if (anchor == npos) return {};
  const string_view sentence = trim(first_sentence(text.substr(anchor)));
  if (sentence.empty()) return {};
  const string_view formulas = formulas_of(sentence);
  const Formula last = last_formula(sentence);
  const bool formula_is_last = last.end != npos && sentence.substr(last.end).rfind(" is ") == npos;
  if (!formulas.empty() && formula_is_last) return {Found::kAnchor, std::string(trim(formulas))};
  const string_view plain = without_prose(sentence);
  if (plain.empty()) return {};
  return {Found::kAnchor, std::string(plain)};
}

// "Final answer: .." behind the last box is a later answer than the box.
Extracted final_answer_behind(string_view text, size_t box) {
  const string_view rest = text.substr(box);
  const size_t anchor = last_anchor(rest);
  if (anchor == npos) return {};
  constexpr size_t kLead = 24;  // "final answer is:" and the blanks around it
  const size_t from = anchor > kLead ? anchor - kLead : 0;
  for (size_t i = from; i < anchor; ++i) {
    if (starts_with(rest.substr(i), "final answer")) return anchored(rest);
  }
  return {};
}

Extracted search(string_view text, bool tagged) {
  if (Extracted result = boxes(text); result.found != Found::kNothing) {
    const size_t box = last_box(text, text.size()).end;
    if (result.found != Found::kBox) return result;
    if (last_anchor(result.text) != npos) {  // \boxed{The answer is 5}
      const Extracted inside = anchored(result.text);
      if (inside.found == Found::kAnchor) return {Found::kBox, inside.text};
    }
    const Extracted later = final_answer_behind(text, box);
    return later.found == Found::kNothing || last_number(later.text).empty() ? result : later;
  }
  if (text.find("\\boxed") != npos) return {};  // an empty box
  if (Extracted result = marked(text); result.found != Found::kNothing) return result;
  size_t denied = npos;
  if (last_anchor(text, &denied) != npos) {
    if (Extracted result = anchored(text); result.found != Found::kNothing) return result;
  } else if (denied != npos) {  // what the answer is not is no answer
    text.remove_prefix(denied + first_sentence(text.substr(denied)).size());
    while (!text.empty() && (text[0] == '.' || is_blank(text[0]))) text.remove_prefix(1);
  }
  const string_view whole = trim(text);
  if (is_bare(whole) || (tagged && !whole.empty() && whole.size() <= kMaxBare))
    return {Found::kBare, std::string(whole)};
  if (const string_view formulas = formulas_of(text); !formulas.empty())
    return {Found::kMath, std::string(trim(formulas))};
  if (const string_view statement = last_statement(text); !statement.empty())
    return {Found::kAnchor, std::string(statement)};
  if (const string_view number = last_number(text); !number.empty())
    return {Found::kNumber, std::string(number)};
  return {};
}

}  // namespace

string_view last_number(string_view text) {
  for (size_t end = text.size(); end > 0; --end) {
    if (!is_digit(text[end - 1])) continue;
    size_t start = end;
    while (start > 0 &&
           (is_digit(text[start - 1]) || ((text[start - 1] == ',' || text[start - 1] == '.') &&
                                          start > 1 && is_digit(text[start - 2])))) {
      --start;
    }
    const bool in_word = (end < text.size() && (is_letter(text[end]) || text[end] == '_')) ||
                         (start > 0 && (is_letter(text[start - 1]) || text[start - 1] == '_'));
    if (in_word) {
      end = start + 1;
      continue;
    }
    if (start > 0 && text[start - 1] == '.') --start;
    if (start > 0 && text[start - 1] == '$') --start;
    if (start > 0 && text[start - 1] == '-' && (start == 1 || !is_digit(text[start - 2]))) --start;
    if (end < text.size() && text[end] == '%') ++end;
    return text.substr(start, end - start);
  }
  return {};
}

Extracted extract_answer(string_view completion) {
  string_view text = completion;
  const size_t reasoning = text.rfind("</think>");
  if (reasoning != npos) text.remove_prefix(reasoning + 8);
  if (text.find("<think>") != npos) return {};
  const size_t open = text.rfind("<answer>");
  if (open == npos) return search(text, false);
  const size_t close = text.find("</answer>", open);
  if (close == npos) return {Found::kMalformed, {}};
  return search(text.substr(open + 8, close - open - 8), true);
}

Extracted extract_gold(string_view gold) {
  Extracted result = boxes(gold);
  if (result.found == Found::kBox) return result;
  const size_t hashes = gold.rfind("####");
  if (hashes != npos) gold = gold.substr(hashes + 4);
  const string_view whole = trim(gold);
  return whole.empty() ? Extracted{} : Extracted{Found::kBare, std::string(whole)};
}

}  // namespace ponder::rewards::math

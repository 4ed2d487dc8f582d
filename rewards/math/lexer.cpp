#include "rewards/math/lexer.h"

#include "rewards/math/lexer_impl.h"

namespace ponder::rewards::math {
namespace {

// Characters that are a token of their own.
Tok single_token(char c) {
  switch (c) {
    case '-':
      return Tok::kMinus;
    case '/':
      return Tok::kSlash;
    case '^':
      return Tok::kCaret;
    case '_':
      return Tok::kUnder;
    case '!':
      return Tok::kBang;
    case '%':
      return Tok::kPercent;
    case '\'':
      return Tok::kPrime;
    case '|':
      return Tok::kBar;
    case '&':
      return Tok::kAmp;
    case ',':
      return Tok::kComma;
    case ':':
      return Tok::kColon;
    default:
      return Tok::kUnknown;
  }
}

}  // namespace

// Three digits and no fourth.
bool Lexer::group_follows(size_t i) const {
  return is_digit(at(i)) && is_digit(at(i + 1)) && is_digit(at(i + 2)) && !is_digit(at(i + 3));
}

// Where the next group of three digits starts if a thousands separator stands at `i`, or 0.
size_t Lexer::next_group(size_t i, bool first_group_short) {
  if (!first_group_short) return 0;
  auto sure = [&](size_t next) { return group_follows(skip_blanks(next)) ? skip_blanks(next) : 0; };
  if (at(i) == '{' || (at(i) == ' ' && at(i + 1) == '{')) {
    size_t k = skip_blanks(i);
    k = skip_blanks(k + 1);
    if (at(k) != ',') return 0;
    k = skip_blanks(k + 1);
    return at(k) == '}' ? sure(k + 1) : 0;
  }
  if (looking_at(",\\!", i) || looking_at(",\\,", i)) return sure(i + 3);
  for (std::string_view thin : {"\\,", "\\;", "\\:", "\\ ", "\\!", "~"}) {
    if (looking_at(thin, i)) return sure(i + thin.size());
  }
  if (at(i) == ',' && group_follows(i + 1)) {
    out_.comma_ambiguous = true;
    return comma_thousands_ && brackets_ == 0 ? i + 1 : 0;
  }
  if (at(i) == ' ' && brackets_ == 0 && group_follows(i + 1)) return i + 1;
  return 0;
}

void Lexer::repeating(Token& token) {
  for (std::string_view mark : {"\\overline", "\\bar", "\\dot"}) {
    if (!looking_at(mark, position_)) continue;
    size_t i = skip_blanks(position_ + mark.size());
    std::string_view digits;
    if (at(i) == '{') {
      digits = braced(i);
    } else {
      digits = text_.substr(i++, 1);
    }
    if (digits.empty() || !std::all_of(digits.begin(), digits.end(), is_digit)) return;
    token.extra = digits;
    position_ = i;
    return;
  }
}

// "0.333...", "0.1212\ldots": digits that repeat before dots go on repeating.
void Lexer::periodic(Token& token) {
  constexpr size_t kRepeatedMin = 3, kPeriodMax = 12;
  const size_t dot = token.text.find('.');
  size_t end = skip_blanks(position_);
  bool dots = false;
  for (std::string_view mark : {"...", "\\ldots", "\\dots", "\\cdots"}) {
    if (dots || !looking_at(mark, end)) continue;
    dots = true;
    end += mark.size();
  }
  if (dot == std::string::npos || !dots) return;
  const std::string_view decimals = std::string_view(token.text).substr(dot + 1);
  for (size_t period = 1; period <= kPeriodMax; ++period) {
    const size_t repeated = std::max(kRepeatedMin, 2 * period);
    if (decimals.size() < repeated) return;
    const std::string_view tail = decimals.substr(decimals.size() - repeated);
    if (!std::equal(tail.begin() + static_cast<long>(period), tail.end(), tail.begin())) continue;
    token.extra = decimals.substr(decimals.size() - period);
    position_ = end;
    return;
  }
}

void Lexer::exponent(Token& token) {
  if ((at(position_) | 32) != 'e') return;
  size_t i = position_ + 1;
  if (at(i) == '+' || at(i) == '-') ++i;
  if (!is_digit(at(i))) return;
  const size_t start = at(position_ + 1) == '+' ? position_ + 2 : position_ + 1;
  while (is_digit(at(i))) ++i;
  if (is_letter(at(i))) return;
  token.exponent = text_.substr(start, i - start);
  position_ = i;
}

// What stands behind the whole part: ".25", ".\overline{3}", "{,}5".
void Lexer::decimals(Token& token) {
  const size_t comma = looking_at("{,}", position_) ? position_ + 3 : 0;
  if (comma != 0 && is_digit(at(comma)) && (!group_follows(comma) || token.text == "0")) {
    token.text += '.';
    position_ = comma;
    while (is_digit(at(position_))) token.text += text_[position_++];
    return;
  }
  if (at(position_) == '.' && at(position_ + 1) == '(') {  // 0.(3)
    size_t end = position_ + 2;
    while (is_digit(at(end))) ++end;
    if (end == position_ + 2 || at(end) != ')') return;
    token.text += '.';
    token.extra = text_.substr(position_ + 2, end - position_ - 2);
    position_ = end + 1;
  } else if (at(position_) == '.' && is_digit(at(position_ + 1))) {
    token.text += '.';
    ++position_;
    while (is_digit(at(position_))) token.text += text_[position_++];
    repeating(token);
    if (token.extra.empty()) periodic(token);
  } else if (at(position_) == '.' && at(position_ + 1) == '\\') {
    const size_t dot = position_++;
    repeating(token);
    if (token.extra.empty()) {
      position_ = dot;
    } else {
      token.text += '.';
    }
  }
}

void Lexer::number() {
  Token token{.kind = Tok::kNumber};
  if (single_digits_ > 0 && is_digit(at(position_))) {
    token.text = text_.substr(position_++, 1);
    single_digits_ = single_digits_ == 2 && is_digit(at(skip_blanks(position_))) ? 1 : 0;
    return push(std::move(token));
  }
  while (is_digit(at(position_))) token.text += text_[position_++];
  const bool short_group = !token.text.empty() && token.text.size() <= 3;
  while (size_t next = next_group(position_, short_group)) {
    token.text.append(text_.substr(next, 3));
    position_ = next + 3;
  }
  decimals(token);
  if (token.extra.empty()) exponent(token);
  push(std::move(token));
}

// "42 million": a number word behind a value multiplies it.
bool Lexer::scale(std::string_view word) {
  static constexpr std::pair<std::string_view, const char*> kScales[] = {
      {"dozen", "12"},        {"hundred", "100"},        {"thousand", "1000"},
      {"million", "1000000"}, {"billion", "1000000000"}, {"trillion", "1000000000000"}};
  if (last_kind() != Tok::kNumber && last_kind() != Tok::kClose) return false;
  for (const auto& [name, value] : kScales) {
    if (word != name) continue;
    push(Tok::kTimes);
    push({.kind = Tok::kNumber, .text = value});
    return true;
  }
  return false;
}

void Lexer::word() {
  const size_t start = position_;
  while (is_letter(at(position_))) ++position_;
  const std::string_view run = text_.substr(start, position_ - start);
  if (const KnownName* known = find_word(run)) return push(known->token);
  if (run == "in" && (at(skip_blanks(position_)) == '[' || at(skip_blanks(position_)) == '(')) {
    return push({.kind = Tok::kRelation, .rel = Rel::kIn});
  }
  if (scale(run)) return;
  const char next = at(skip_blanks(position_));
  if (run == "U" && last_kind() == Tok::kClose && (next == '(' || next == '['))
    return push(Tok::kUnion);
  push({.kind = run.size() == 1 ? Tok::kLetter : Tok::kWord, .text = std::string(run)});
}

bool Lexer::relation(char c) {
  const char next = at(position_ + 1);
  Rel rel;
  size_t length = 1;
  if (c == '=') {
    rel = Rel::kEq;
    if (next == '=') length = 2;
  } else if (c == '<' || c == '>') {
    rel = c == '<' ? (next == '=' ? Rel::kLe : Rel::kLt) : (next == '=' ? Rel::kGe : Rel::kGt);
    if (next == '=') length = 2;
  } else if (c == '!' && next == '=') {
    rel = Rel::kNe;
    length = 2;
  } else {
    return false;
  }
  position_ += length;
  push({.kind = Tok::kRelation, .rel = rel});
  return true;
}

// The "[4pt]" of "\\\\[4pt]".
void Lexer::skip_row_height() {
  if (at(position_) != '[') return;
  size_t i = position_ + 1;
  while (is_digit(at(i)) || at(i) == '.' || at(i) == '-') ++i;
  const bool unit =
      is_letter(at(i)) && is_letter(at(i + 1)) && at(i + 2) == ']' && i > position_ + 1;
  if (unit) position_ = i + 3;
}

// "{}" between things stands for nothing; as an argument it is missing.
bool Lexer::empty_group_is_nothing() {
  const size_t close = skip_blanks(position_);
  if (at(close) != '}') return false;
  switch (last_kind()) {
    case Tok::kFrac:
    case Tok::kSqrt:
    case Tok::kBinom:
    case Tok::kCaret:
    case Tok::kUnder:
    case Tok::kClose:
    case Tok::kFunction:
    case Tok::kName:
      return false;
    default:
      position_ = close + 1;
      return true;
  }
}

// Brackets and braces.
bool Lexer::separator(char c) {
  switch (c) {
    case '{':
      if (looking_at(":}", position_)) {  // 12{:}30
        position_ += 2;
        push(Tok::kColon);
      } else if (!empty_group_is_nothing()) {
        push(Tok::kOpen, '{');
      }
      return true;
    case '}':
      push(Tok::kClose, '}');
      return true;
    case '(':
    case '[':
      ++brackets_;
      push(Tok::kOpen, c);
      return true;
    case ')':
    case ']':
      --brackets_;
      push(Tok::kClose, c);
      return true;
    default:
      return false;
  }
}

void Lexer::symbol(char c) {
  ++position_;
  if (separator(c)) return;
  switch (c) {
    case '+':
      if (at(position_) == '-' || (at(position_) == '/' && at(position_ + 1) == '-')) {
        position_ += at(position_) == '-' ? 1 : 2;
        return push(Tok::kPlusMinus);
      }
      return push(Tok::kPlus);
    case '*':
      if (at(position_) == '*') {
        ++position_;
        return push(Tok::kCaret);
      }
      return push(Tok::kTimes);
    case ';':
      return push({.kind = Tok::kConnective, .text = ";"});
    case '~':
    case '$':
      space_ = true;
      return;
    case '.':
      if (at(position_) == '.' && at(position_ + 1) == '.') {
        position_ += 2;
        return push(Tok::kEllipsis);
      }
      return push(Tok::kDot);
    default:
      return push(single_token(c));
  }
}

// A run of digits and capital letters with both in it, or capital letters alone: a number in a base
// above ten, if a base follows.
bool Lexer::push_digits(std::string_view run) {
  const bool fits = !run.empty() && std::all_of(run.begin(), run.end(), [](char c) {
    return is_digit(c) || (c >= 'A' && c <= 'Z');
  });
  if (!fits || std::all_of(run.begin(), run.end(), is_digit) ||
      (run.size() == 1 && is_letter(run[0])))
    return false;
  push({.kind = Tok::kDigits, .text = std::string(run)});
  return true;
}

// "A3_{16}", "BEE_{15}": only before a base from 11 to 36, so that x_1y_2 and AB_1 stay products.
bool Lexer::based_digits() {
  size_t end = position_;
  while (is_digit(at(end)) || is_letter(at(end))) ++end;
  size_t i = end;
  if (at(i++) != '_') return false;
  if (at(i) == '{') ++i;
  const bool base = is_digit(at(i)) && is_digit(at(i + 1)) && !is_digit(at(i + 2)) &&
                    (at(i) == '1' || at(i) == '2' || at(i) == '3') &&
                    !(at(i) == '1' && at(i + 1) == '0');
  if (!base || !push_digits(text_.substr(position_, end - position_))) return false;
  position_ = end;
  return true;
}

void Lexer::step() {
  const char c = text_[position_];
  if (c == ' ') {
    space_ = true;
    ++position_;
  } else if ((is_digit(c) || is_letter(c)) && based_digits()) {
    return;
  } else if (is_digit(c) || (c == '.' && is_digit(at(position_ + 1)))) {
    number();
  } else if (is_letter(c)) {
    word();
  } else if (c == '\\') {
    command();
  } else if (!relation(c)) {
    symbol(c);
  }
}

Lexed lex(std::string_view text, bool comma_thousands) {
  return Lexer(text, comma_thousands).run();
}

}  // namespace ponder::rewards::math

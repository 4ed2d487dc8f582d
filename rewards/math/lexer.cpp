#include "rewards/math/lexer.h"

#include <algorithm>

#include "rewards/math/lexer_names.h"

namespace ponder::rewards::math {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_letter(char c) {
  return (c | 32) >= 'a' && (c | 32) <= 'z';
}

class Lexer {
 public:
  Lexer(std::string_view text, bool comma_thousands)
      : text_(text), comma_thousands_(comma_thousands) {}

  Lexed run() {
    while (position_ < text_.size()) step();
    push(Tok::kEnd_of_input);
    return std::move(out_);
  }

 private:
  char at(size_t i) const { return i < text_.size() ? text_[i] : '\0'; }
  bool looking_at(std::string_view what, size_t i) const {
    return text_.substr(std::min(i, text_.size()), what.size()) == what;
  }
  size_t skip_blanks(size_t i) const {
    while (at(i) == ' ') ++i;
    return i;
  }

  void push(Token token) {
    token.space = space_;
    token.vector = vector_depth_ > 0;
    space_ = false;
    out_.tokens.push_back(std::move(token));
  }
  void push(Tok kind, char ch = 0) { push({.kind = kind, .ch = ch}); }
  Tok last_kind() const {
    return out_.tokens.empty() ? Tok::kEnd_of_input : out_.tokens.back().kind;
  }

  void step();
  void number();
  bool group_follows(size_t i) const;
  size_t next_group(size_t i, bool first_group_short);
  void repeating(Token& token);
  void exponent(Token& token);
  void word();
  void command();
  void run_command(const KnownName& known);
  void text_group(Command command);
  void plain_text(std::string_view content);
  void delimiter();
  std::string_view braced(size_t& i) const;
  bool empty_group_is_nothing();
  void skip_row_height();
  void symbol(char c);
  bool relation(char c);

  std::string_view text_;
  bool comma_thousands_;
  size_t position_ = 0;
  bool space_ = false;
  int brackets_ = 0;  // open ( [ \{, where a comma separates
  int single_digits_ =
      0;  // arguments of \frac still to come that are one digit each when not braced
  int vector_depth_ = 0;
  // Nested groups are scanned once a level: a bound keeps that linear. Past it the rest of the text
  // is one group.
  mutable int64_t scan_budget_ = 1 << 20;
  Lexed out_;
};

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
  if (at(position_) == '.' && is_digit(at(position_ + 1))) {
    token.text += '.';
    ++position_;
    while (is_digit(at(position_))) token.text += text_[position_++];
    repeating(token);
  } else if (at(position_) == '.' && at(position_ + 1) == '\\') {
    const size_t dot = position_++;
    repeating(token);
    if (token.extra.empty()) {
      position_ = dot;
    } else {
      token.text += '.';
    }
  }
  if (token.extra.empty()) exponent(token);
  push(std::move(token));
}

void Lexer::word() {
  const size_t start = position_;
  while (is_letter(at(position_))) ++position_;
  const std::string_view run = text_.substr(start, position_ - start);
  if (const KnownName* known = find_word(run)) return push(known->token);
  if (run == "in" && (at(skip_blanks(position_)) == '[' || at(skip_blanks(position_)) == '(')) {
    return push({.kind = Tok::kRelation, .rel = Rel::kIn});
  }
  const char next = at(skip_blanks(position_));
  if (run == "U" && last_kind() == Tok::kClose && (next == '(' || next == '['))
    return push(Tok::kUnion);
  push({.kind = run.size() == 1 ? Tok::kLetter : Tok::kWord, .text = std::string(run)});
}

// The content of the group that starts at `i`, and moves `i` past it; an unclosed group runs to the
// end.
std::string_view Lexer::braced(size_t& i) const {
  const size_t start = ++i;
  int depth = 1;
  for (; i < text_.size() && --scan_budget_ > 0; ++i) {
    if (text_[i] == '\\') {
      ++i;
    } else if (text_[i] == '{') {
      ++depth;
    } else if (text_[i] == '}' && --depth == 0) {
      return text_.substr(start, i++ - start);
    }
  }
  i = text_.size();
  return text_.substr(start);
}

void Lexer::plain_text(std::string_view content) {
  while (!content.empty() && content.front() == ' ') content.remove_prefix(1);
  while (!content.empty() && content.back() == ' ') content.remove_suffix(1);
  if (content.empty()) return;
  std::string_view word = content;
  while (!word.empty() && (word.front() == ',' || word.front() == ' ')) word.remove_prefix(1);
  while (!word.empty() && word.back() == ' ') word.remove_suffix(1);
  if (word == "and" || word == "or" || word == "And" || word == "Or") {
    return push({.kind = Tok::kConnective, .text = std::string(word)});
  }
  if (word == "to") return push(Tok::kColon);
  push({.kind = Tok::kText, .text = std::string(content)});
}

void Lexer::text_group(Command command) {
  size_t i = skip_blanks(position_);
  std::string_view content;
  if (at(i) == '{') {
    content = braced(i);
  } else {
    content = text_.substr(std::min(i, text_.size()), 1);
    i = std::min(i + 1, text_.size());
  }
  std::string_view trimmed = content;
  while (!trimmed.empty() && trimmed.front() == ' ') trimmed.remove_prefix(1);
  while (!trimmed.empty() && trimmed.back() == ' ') trimmed.remove_suffix(1);
  if (trimmed.empty()) {
    position_ = i;
    return;
  }
  const auto letters = std::count_if(content.begin(), content.end(), is_letter);
  const bool numeric =
      is_digit(trimmed[0]) || (trimmed.size() > 1 && trimmed[0] == '-' && is_digit(trimmed[1]));
  const bool mathematics =
      content.find_first_of("\\$") != std::string_view::npos || letters == 0 || numeric;
  const bool symbol = letters == 1 && command != Command::kTextGroup;
  // Mathematics in it is lexed where it stands: only the command is dropped, and the braces group.
  // An upright letter behind a number is a unit where there is such a unit: 5\mathrm{m}, not
  // 5\mathrm{i}.
  const bool unit = symbol && command == Command::kFontGroup && last_kind() == Tok::kNumber &&
                    trimmed.size() == 1 &&
                    std::string_view("msghLlNJWVAKCTFH").find(trimmed) != std::string_view::npos;
  if ((mathematics || symbol) && !unit) return;
  position_ = i;
  if (const KnownName* known = find_word(trimmed)) return push(known->token);
  if (command == Command::kVectorGroup || command == Command::kFontGroup) {
    const bool operator_name = at(skip_blanks(i)) == '(' && command == Command::kFontGroup;
    if (operator_name) return push({.kind = Tok::kName, .text = std::string(trimmed)});
  }
  plain_text(content);
}

void Lexer::delimiter() {
  position_ = skip_blanks(position_);
  if (at(position_) == '.') ++position_;
}

void Lexer::run_command(const KnownName& known) {
  switch (known.command) {
    case Command::kToken:
      push(known.token);
      if (known.token.kind == Tok::kFrac || known.token.kind == Tok::kBinom) {
        single_digits_ = is_digit(at(skip_blanks(position_))) ? 2 : 0;
      }
      if (known.token.kind == Tok::kRow) skip_row_height();
      if (known.token.kind == Tok::kOpen) ++brackets_;
      if (known.token.kind == Tok::kClose) --brackets_;
      break;
    case Command::kLetter:
      push({.kind = Tok::kLetter, .text = "\\" + known.token.text});
      break;
    case Command::kSkip:
    case Command::kThin:
      space_ = true;
      break;
    case Command::kUnwrap:
      break;
    case Command::kSkipGroup: {
      size_t i = skip_blanks(position_);
      if (at(i) == '{') {
        braced(i);
        position_ = i;
      }
      break;
    }
    case Command::kDelimiter:
      delimiter();
      break;
    case Command::kTextGroup:
    case Command::kFontGroup:
      text_group(known.command);
      break;
    case Command::kVectorGroup: {
      const size_t before = out_.tokens.size();
      size_t i = skip_blanks(position_);
      if (at(i) == '{' && is_letter(at(i + 1)) && at(i + 2) == '}') {
        push({.kind = Tok::kLetter, .text = std::string(1, at(i + 1))});
        out_.tokens[before].vector = true;
        position_ = i + 3;
      } else if (is_letter(at(i)) && !is_letter(at(i + 1))) {
        push({.kind = Tok::kLetter, .text = std::string(1, at(i))});
        out_.tokens[before].vector = true;
        position_ = i + 1;
      } else {
        text_group(known.command);
      }
      break;
    }
    case Command::kBlackboard: {
      size_t i = skip_blanks(position_);
      const std::string_view name =
          at(i) == '{' ? braced(i) : text_.substr(std::min(i, text_.size() - 1), 1);
      if (at(i) != '\0' && name.size() == 1 && is_letter(at(i))) ++i;
      position_ = std::min(std::max(i, position_), text_.size());
      push({.kind = Tok::kConstant, .op = Op::kNamedSet, .text = std::string(name)});
      break;
    }
    case Command::kBegin:
    case Command::kEnd: {
      size_t i = skip_blanks(position_);
      if (at(i) != '{') return push(Tok::kUnknown);
      Token token{.kind = known.command == Command::kBegin ? Tok::kBegin : Tok::kEnd,
                  .text = std::string(braced(i))};
      if (token.text == "array" && token.kind == Tok::kBegin && at(skip_blanks(i)) == '{') {
        i = skip_blanks(i);
        braced(i);
      }
      position_ = i;
      push(std::move(token));
      break;
    }
  }
}

void Lexer::command() {
  size_t end = position_ + 1;  // of a run of letters, or of one other character
  while (is_letter(at(end))) ++end;
  if (end == position_ + 1) ++end;
  const std::string_view name = text_.substr(position_ + 1, end - position_ - 1);
  position_ = std::min(end, text_.size());
  if (const KnownName* known = find_command(name)) return run_command(*known);
  for (std::string_view blank : {"qquad", "quad"}) {  // "\quadx": a blank was forgotten
    if (!name.starts_with(blank)) continue;
    position_ -= name.size() - blank.size();
    space_ = true;
    return;
  }
  push({.kind = Tok::kName, .text = "\\" + std::string(name)});
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

void Lexer::symbol(char c) {
  ++position_;
  switch (c) {
    case '+':
      if (at(position_) == '-' || (at(position_) == '/' && at(position_ + 1) == '-')) {
        position_ += at(position_) == '-' ? 1 : 2;
        return push(Tok::kPlusMinus);
      }
      return push(Tok::kPlus);
    case '-':
      return push(Tok::kMinus);
    case '*':
      if (at(position_) == '*') {
        ++position_;
        return push(Tok::kCaret);
      }
      return push(Tok::kTimes);
    case '/':
      return push(Tok::kSlash);
    case '^':
      return push(Tok::kCaret);
    case '_':
      return push(Tok::kUnder);
    case '!':
      return push(Tok::kBang);
    case '%':
      return push(Tok::kPercent);
    case '\'':
      return push(Tok::kPrime);
    case '|':
      return push(Tok::kBar);
    case '&':
      return push(Tok::kAmp);
    case ',':
      return push(Tok::kComma);
    case ';':
      return push({.kind = Tok::kConnective, .text = ";"});
    case ':':
      return push(Tok::kColon);
    case '~':
      space_ = true;
      return;
    case '$':
      space_ = true;
      return;
    case '{':
      if (empty_group_is_nothing()) return;
      return push(Tok::kOpen, '{');
    case '}':
      return push(Tok::kClose, '}');
    case '(':
    case '[':
      ++brackets_;
      return push(Tok::kOpen, c);
    case ')':
    case ']':
      --brackets_;
      return push(Tok::kClose, c);
    case '.':
      if (at(position_) == '.' && at(position_ + 1) == '.') {
        position_ += 2;
        return push(Tok::kEllipsis);
      }
      return push(Tok::kDot);
    default:
      return push(Tok::kUnknown);
  }
}

void Lexer::step() {
  const char c = text_[position_];
  if (c == ' ') {
    space_ = true;
    ++position_;
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

}  // namespace

Lexed lex(std::string_view text, bool comma_thousands) {
  return Lexer(text, comma_thousands).run();
}

}  // namespace ponder::rewards::math

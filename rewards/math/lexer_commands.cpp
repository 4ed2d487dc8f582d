#include "rewards/math/lexer_impl.h"

namespace ponder::rewards::math {

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
  const std::string_view first = word.substr(0, word.find(' '));
  if (scale(first)) return plain_text(word.substr(first.size()));
  const size_t next = skip_blanks(position_);
  const bool set_follows = at(next) == '(' || at(next) == '[' || looking_at("\\left", next) ||
                           looking_at("\\{", next) || looking_at("\\mathbb", next);
  if (word == "in" && last_kind() == Tok::kLetter && set_follows)
    return push({.kind = Tok::kRelation, .rel = Rel::kIn});
  push({.kind = Tok::kText, .text = std::string(content)});
}

// Behind a word of a unit, its exponent and a sign of multiplication: the m of
// \mathrm{kg} \cdot \mathrm{m}.
bool Lexer::behind_unit() const {
  const std::vector<Token>& tokens = out_.tokens;
  size_t end = tokens.size();
  const auto is = [&](size_t back, Tok kind) {
    return back <= end && tokens[end - back].kind == kind;
  };
  if (is(1, Tok::kTimes) || is(1, Tok::kSlash)) --end;
  if (is(1, Tok::kClose) && is(2, Tok::kNumber)) {
    const size_t inside = is(3, Tok::kMinus) ? 4 : 3;
    if (is(inside, Tok::kOpen) && is(inside + 1, Tok::kCaret)) end -= inside + 1;
  } else if (is(1, Tok::kNumber) && is(2, Tok::kCaret)) {
    end -= 2;
  }
  return is(1, Tok::kText);
}

// What a \text{..} is read as when its content is mathematics: its braces then group where they
// stand.
bool Lexer::is_mathematics(std::string_view content, Command command) const {
  const auto letters = std::count_if(content.begin(), content.end(), is_letter);
  const bool numeric =
      is_digit(content[0]) || (content.size() > 1 && content[0] == '-' && is_digit(content[1]));
  if (content.find_first_of("\\$") != std::string_view::npos || letters == 0 || numeric)
    return true;
  if (letters != 1) return false;
  if (command != Command::kTextGroup) {
    // An upright letter behind a number is a unit where there is such a unit: 5\mathrm{m}, not
    // 5\mathrm{i}.
    const bool unit = command == Command::kFontGroup &&
                      (last_kind() == Tok::kNumber || behind_unit()) && content.size() == 1 &&
                      std::string_view("msghlLNJWVAKCTFH").find(content) != std::string_view::npos;
    return !unit;
  }
  const bool in_sum = last_kind() == Tok::kNumber || last_kind() == Tok::kPlus ||
                      last_kind() == Tok::kMinus || last_kind() == Tok::kClose;
  const size_t behind = text_.find('}', position_);
  const bool raised = behind != std::string_view::npos && at(skip_blanks(behind + 1)) == '^';
  return (content == "i" && in_sum) || (content == "e" && raised);
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
  if (trimmed.empty() || trimmed == "\\$" || trimmed == "$") {
    position_ = i;
    return;
  }
  if (trimmed == "\\%" || trimmed == "%") {
    position_ = i;
    return push(Tok::kPercent);
  }
  if (at(skip_blanks(i)) == '_' && push_digits(trimmed)) {
    position_ = i;
    return;
  }
  if (is_mathematics(trimmed, command)) return;
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

// A vector's name: \mathbf{a}, \vec v; a longer group is text.
void Lexer::vector_group() {
  size_t i = skip_blanks(position_);
  const bool braces = at(i) == '{' && is_letter(at(i + 1)) && at(i + 2) == '}';
  if (!braces && !(is_letter(at(i)) && !is_letter(at(i + 1))))
    return text_group(Command::kVectorGroup);
  if (braces) ++i;
  push({.kind = Tok::kLetter, .text = std::string(1, at(i))});
  out_.tokens.back().vector = true;
  position_ = i + (braces ? 2 : 1);
}

void Lexer::blackboard() {
  size_t i = skip_blanks(position_);
  const std::string_view name =
      at(i) == '{' ? braced(i) : text_.substr(std::min(i, text_.size() - 1), 1);
  if (at(i) != '\0' && name.size() == 1 && is_letter(at(i))) ++i;
  position_ = std::min(std::max(i, position_), text_.size());
  push({.kind = Tok::kConstant, .op = Op::kNamedSet, .text = std::string(name)});
}

void Lexer::environment(Tok kind) {
  size_t i = skip_blanks(position_);
  if (at(i) != '{') return push(Tok::kUnknown);
  Token token{.kind = kind, .text = std::string(braced(i))};
  if (token.text == "array" && kind == Tok::kBegin && at(skip_blanks(i)) == '{') {
    i = skip_blanks(i);
    braced(i);
  }
  position_ = i;
  push(std::move(token));
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
    case Command::kVectorGroup:
      vector_group();
      break;
    case Command::kBlackboard:
      blackboard();
      break;
    case Command::kBegin:
    case Command::kEnd:
      environment(known.command == Command::kBegin ? Tok::kBegin : Tok::kEnd);
      break;
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

}  // namespace ponder::rewards::math

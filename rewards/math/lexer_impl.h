// The lexer's inside, shared by lexer.cpp (numbers, words, single characters) and
// lexer_commands.cpp (what a backslash starts).
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

#include "rewards/math/lexer.h"
#include "rewards/math/lexer_names.h"

namespace ponder::rewards::math {

inline bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
inline bool is_letter(char c) {
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
  void periodic(Token& token);
  void exponent(Token& token);
  void decimals(Token& token);
  void word();
  bool scale(std::string_view word);
  bool behind_unit() const;
  void command();
  void run_command(const KnownName& known);
  bool is_mathematics(std::string_view content, Command command) const;
  void text_group(Command command);
  void vector_group();
  void blackboard();
  void environment(Tok kind);
  void plain_text(std::string_view content);
  void delimiter();
  std::string_view braced(size_t& i) const;
  bool empty_group_is_nothing();
  void skip_row_height();
  void symbol(char c);
  bool relation(char c);
  bool separator(char c);
  bool push_digits(std::string_view run);
  bool based_digits();

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

}  // namespace ponder::rewards::math

// The parser's inside, shared by parser.cpp (lists, relations, sums, products) and parser_atoms.cpp
// (numbers, names, brackets, functions). Every method returns a node and leaves `position_` behind
// what it read; after fail() all return dummies and every loop ends.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "rewards/math/lexer.h"
#include "rewards/math/parser.h"

namespace ponder::rewards::math {

class Parser {
 public:
  Parser(std::vector<Token> tokens, Arena& arena) : tokens_(std::move(tokens)), arena_(arena) {}

  // The whole input, or -1.
  int run();
  const std::string& failure() const { return failure_; }

 private:
  static constexpr int kMaxDepth = 200;

  struct Deeper {
    explicit Deeper(Parser& parser) : parser_(parser) {
      if (++parser_.depth_ > kMaxDepth) parser_.fail("nested too deep");
    }
    ~Deeper() { --parser_.depth_; }
    Parser& parser_;
  };

  const Token& peek(int ahead = 0) const {
    const size_t index = position_ + static_cast<size_t>(ahead);
    return index < tokens_.size() ? tokens_[index] : tokens_.back();
  }
  bool next_is(Tok kind, int ahead = 0) const { return peek(ahead).kind == kind; }
  bool next_opens(char ch, int ahead = 0) const {
    return next_is(Tok::kOpen, ahead) && peek(ahead).ch == ch;
  }
  bool next_closes(char ch, int ahead = 0) const {
    return next_is(Tok::kClose, ahead) && peek(ahead).ch == ch;
  }
  void advance() {
    if (position_ + 1 < tokens_.size()) ++position_;
  }
  bool accept(Tok kind) {
    if (!next_is(kind)) return false;
    advance();
    return true;
  }
  int fail(std::string_view why);
  bool failed() const { return !failure_.empty(); }

  // parser.cpp
  std::vector<int> elements(Joint* joint = nullptr);
  int list();
  bool skip_separators(std::vector<Joint>& joints);
  int element();
  int set_expression();
  int ratio();
  int sum();
  int term();
  int product();
  bool starts_factor() const;
  bool is_unit(int index, int depth = 0) const;
  int multiply(int left, int right, bool cross);
  bool mixed_fraction(int left, int* value);
  bool skip_unit(int left);
  bool only_words_follow() const;
  int factor();
  int postfix(int base);
  int double_factorial(int base);
  bool skip_ordinal();
  int power(int base);
  bool is_digits(int index) const;

  // parser_atoms.cpp
  int atom();
  int number();
  int letter();
  int word();
  int argument();
  int fraction();
  int root();
  int bracket();
  int bars(Tok close);
  int function();
  int function_argument();
  int fold(Op op);
  int apply(std::string_view name);
  int opaque(size_t start);
  int named_operator();
  int big_operator();
  int environment();
  int matrix(std::string_view name);
  int determinant(int matrix);
  int based_number(int digits);
  int base_in_words();
  int selection();
  int inverse_call(const std::string& name);
  std::string script();
  std::string surface(size_t from, size_t to) const;

  std::vector<Token> tokens_;
  Arena& arena_;
  size_t position_ = 0;
  int depth_ = 0;
  int open_bars_ = 0;
  std::vector<std::string> bound_;  // summation variables in scope
  std::string failure_;
};

}  // namespace ponder::rewards::math

// The parser's class, shared by its two halves: statements (parser.cpp) and expressions
// (parser_expressions.cpp). Recursive descent, one method a rule of jinja2/parser.py.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "policy/jinja/ast.h"
#include "policy/jinja/lexer.h"

namespace ponder::policy::jinja {

constexpr int kExprDepthMax = 200;  // of an expression's tree
constexpr int kNestingMax = 100;    // brackets in brackets, blocks in blocks

class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(tokenize(source)) {}
  Body run();

 private:
  using EndTags = std::initializer_list<const char*>;

  // Counts the recursion of the descent; the tree's own depth is counted in make().
  class Nesting {
   public:
    explicit Nesting(Parser& parser) : parser_(parser) {
      if (++parser_.nesting_ > kNestingMax) parser_.fail("the template is nested too deeply");
    }
    ~Nesting() { --parser_.nesting_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;

   private:
    Parser& parser_;
  };

  // Tokens.
  const Token& current() const { return tokens_[at_]; }
  const Token& next_token() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Token take();
  bool is_name(const char* name) const;
  bool is_operator(const char* op) const;
  bool take_name(const char* name);
  bool take_operator(const char* op);
  void expect_operator(const char* op);
  std::string expect_any_name();
  [[noreturn]] void fail(std::string message, int line = 0) const;
  [[noreturn]] void fail_expected(const std::string& what) const;

  // Statements.
  Body body(EndTags end_tags, const char* tag, int line);
  Body tag_body(EndTags end_tags, const char* tag, int line);
  void close(const char* tag, int line, Body& into);
  Stmt statement();
  Stmt for_statement(int line);
  Stmt if_statement(int line);
  Stmt set_statement(int line);
  void callable_body(const char* tag, Stmt& stmt);
  Stmt macro_statement(int line);
  Stmt call_statement(int line);
  Stmt filter_statement(int line);
  Stmt with_statement(int line);
  Stmt generation_statement(int line);
  Stmt loop_control(Stmt::Kind kind, int line, const std::string& tag);
  Signature signature();
  ExprPtr target(bool with_namespace, const char* end_name);
  void check_target(const Expr& target) const;

  // Expressions.
  static ExprPtr node(Expr::Kind kind, int line);
  ExprPtr make(ExprPtr expr) const;  // with its depth, checked
  ExprPtr make(Expr::Kind kind, int line, std::string name, ExprPtr left, ExprPtr right) const;
  bool tuple_ends(const char* end_name) const;
  ExprPtr tuple(bool with_choice, const char* end_name, bool in_parentheses);
  ExprPtr target_tuple(bool with_namespace, const char* end_name);
  ExprPtr expression(bool with_choice = true);
  ExprPtr choice();
  ExprPtr either();
  ExprPtr both();
  ExprPtr negation();
  ExprPtr comparison();
  ExprPtr sum();
  ExprPtr concatenation();
  ExprPtr product();
  ExprPtr power();
  ExprPtr unary(bool with_filter);
  ExprPtr primary(bool with_namespace);
  ExprPtr list();
  ExprPtr dict();
  ExprPtr postfix(ExprPtr expr);
  ExprPtr filters_and_tests(ExprPtr expr);
  ExprPtr attribute(ExprPtr object);
  ExprPtr subscript(ExprPtr object);
  ExprPtr subscript_part();
  ExprPtr call(ExprPtr callee);
  ExprPtr filter(ExprPtr input);
  ExprPtr test(ExprPtr input);
  void arguments(Expr& into);

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int nesting_ = 0;
  int loops_ = 0;             // around here, within this macro
  Signature mentioned_ = {};  // what the macro's body mentioned so far
};

}  // namespace ponder::policy::jinja

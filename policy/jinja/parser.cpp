#include "policy/jinja/parser.h"

#include <algorithm>

#include <fmt/format.h>

#include "policy/jinja/parser_impl.h"

namespace ponder::policy::jinja {

Body parse(std::string_view source) {
  return Parser(source).run();
}

Body Parser::run() {
  return body({}, "", 1);
}

void Parser::fail(std::string message, int line) const {
  throw SyntaxProblem{line > 0 ? line : current().line, std::move(message)};
}

void Parser::fail_expected(const std::string& what) const {
  fail(fmt::format("expected {}, found '{}'", what, describe(current())));
}

Token Parser::take() {
  const Token token = current();
  if (at_ + 1 < tokens_.size()) ++at_;
  return token;
}

bool Parser::is_name(const char* name) const {
  return current().kind == Token::Kind::kName && current().text == name;
}

bool Parser::is_operator(const char* op) const {
  return current().kind == Token::Kind::kOperator && current().text == op;
}

bool Parser::take_name(const char* name) {
  if (!is_name(name)) return false;
  take();
  return true;
}

bool Parser::take_operator(const char* op) {
  if (!is_operator(op)) return false;
  take();
  return true;
}

void Parser::expect_operator(const char* op) {
  if (!take_operator(op)) fail_expected(fmt::format("'{}'", op));
}

std::string Parser::expect_any_name() {
  if (current().kind != Token::Kind::kName) fail_expected("a name");
  return take().text;
}

// Statements up to one of `end_tags`, whose name is then the current token; all of the template
// where there is none.
Body Parser::body(EndTags end_tags, const char* tag, int line) {
  const Nesting nesting(*this);
  Body out;
  while (current().kind != Token::Kind::kEnd) {
    if (current().kind == Token::Kind::kText) {
      Stmt text{.kind = Stmt::Kind::kText, .line = current().line};
      text.text = take().text;
      out.push_back(std::move(text));
    } else if (current().kind == Token::Kind::kPrintBegin) {
      Stmt print{.kind = Stmt::Kind::kPrint, .line = take().line};
      print.exprs.push_back(tuple(true, nullptr, false));
      if (current().kind != Token::Kind::kPrintEnd) fail_expected("'}}'");
      take();
      out.push_back(std::move(print));
    } else {
      take();
      if (std::any_of(end_tags.begin(), end_tags.end(),
                      [&](const char* end) { return is_name(end); }))
        return out;
      out.push_back(statement());
      if (current().kind != Token::Kind::kBlockEnd) fail_expected("'%}'");
      take();
    }
  }
  if (end_tags.size() > 0) {
    fail(fmt::format("the template ends within {{% {} %}}, opened in line {}: expected {{% {} %}}",
                     tag, line, *(end_tags.end() - 1)));
  }
  return out;
}

// The rest of an opening tag and what it encloses.
Body Parser::tag_body(EndTags end_tags, const char* tag, int line) {
  take_operator(":");
  if (current().kind != Token::Kind::kBlockEnd) fail_expected("'%}'");
  take();
  return body(end_tags, tag, line);
}

void Parser::close(const char* tag, int line, Body& into) {
  const std::string end = std::string("end") + tag;
  into = tag_body({end.c_str()}, tag, line);
  take();
}

Stmt Parser::statement() {
  if (current().kind != Token::Kind::kName) fail_expected("the name of a tag");
  const int line = current().line;
  const std::string tag = take().text;
  if (tag == "for") return for_statement(line);
  if (tag == "if") return if_statement(line);
  if (tag == "set") return set_statement(line);
  if (tag == "macro") return macro_statement(line);
  if (tag == "call") return call_statement(line);
  if (tag == "filter") return filter_statement(line);
  if (tag == "with") return with_statement(line);
  if (tag == "generation") return generation_statement(line);
  if (tag == "break") return loop_control(Stmt::Kind::kBreak, line, tag);
  if (tag == "continue") return loop_control(Stmt::Kind::kContinue, line, tag);
  for (const char* other :
       {"block", "extends", "include", "import", "from", "autoescape", "print"}) {
    if (tag == other)
      fail(fmt::format("the tag '{}' is not supported in a chat template", tag), line);
  }
  fail(fmt::format("unknown tag '{}'", tag), line);
}

Stmt Parser::for_statement(int line) {
  Stmt stmt{.kind = Stmt::Kind::kFor, .line = line};
  stmt.exprs.push_back(target(false, "in"));
  if (!take_name("in")) fail_expected("'in'");
  stmt.exprs.push_back(tuple(false, "recursive", false));
  stmt.exprs.push_back(take_name("if") ? expression() : nullptr);
  stmt.recursive = take_name("recursive");
  ++loops_;
  stmt.bodies.push_back(tag_body({"else", "endfor"}, "for", line));
  --loops_;
  stmt.bodies.emplace_back();
  if (take().text == "else") close("for", line, stmt.bodies.back());
  return stmt;
}

Stmt Parser::if_statement(int line) {
  Stmt stmt{.kind = Stmt::Kind::kIf, .line = line};
  while (true) {
    stmt.exprs.push_back(tuple(false, nullptr, false));
    stmt.bodies.push_back(tag_body({"elif", "else", "endif"}, "if", line));
    const std::string tag = take().text;
    if (tag == "elif") continue;
    if (tag == "else") close("if", line, stmt.bodies.emplace_back());
    return stmt;
  }
}

Stmt Parser::set_statement(int line) {
  Stmt stmt{.kind = Stmt::Kind::kSet, .line = line};
  stmt.exprs.push_back(target(true, nullptr));
  if (take_operator("=")) {
    stmt.exprs.push_back(tuple(true, nullptr, false));
    return stmt;
  }
  stmt.kind = Stmt::Kind::kSetBlock;
  ExprPtr filters = node(Expr::Kind::kCaptured, line);
  while (take_operator("|")) filters = filter(std::move(filters));
  stmt.exprs.push_back(std::move(filters));
  close("set", line, stmt.bodies.emplace_back());
  return stmt;
}

Signature Parser::signature() {
  Signature out;
  expect_operator("(");
  while (!is_operator(")")) {
    if (!out.names.empty()) expect_operator(",");
    out.names.push_back(expect_any_name());
    if (take_operator("=")) {
      out.defaults.push_back(expression());
    } else if (!out.defaults.empty()) {
      fail("a parameter without default follows one with a default");
    }
  }
  expect_operator(")");
  return out;
}

// What a macro and a {% call %} have in common: a body of its own, called later.
void Parser::callable_body(const char* tag, Stmt& stmt) {
  const int loops = std::exchange(loops_, 0);
  const Signature around = std::exchange(mentioned_, {});
  close(tag, stmt.line, stmt.bodies.emplace_back());
  const auto takes = [&](bool mentioned, const char* name) {
    const std::vector<std::string>& names = stmt.signature.names;
    return mentioned && std::find(names.begin(), names.end(), name) == names.end();
  };
  stmt.signature.takes_caller = takes(mentioned_.takes_caller, "caller");
  stmt.signature.takes_varargs = takes(mentioned_.takes_varargs, "varargs");
  stmt.signature.takes_kwargs = takes(mentioned_.takes_kwargs, "kwargs");
  loops_ = loops;
  mentioned_.takes_caller |= around.takes_caller;
  mentioned_.takes_varargs |= around.takes_varargs;
  mentioned_.takes_kwargs |= around.takes_kwargs;
}

Stmt Parser::macro_statement(int line) {
  Stmt stmt{.kind = Stmt::Kind::kMacro, .line = line};
  stmt.text = expect_any_name();
  stmt.signature = signature();
  callable_body("macro", stmt);
  return stmt;
}

Stmt Parser::call_statement(int line) {
  Stmt stmt{.kind = Stmt::Kind::kCallBlock, .line = line};
  if (is_operator("(")) stmt.signature = signature();
  stmt.exprs.push_back(expression());
  if (stmt.exprs[0]->kind != Expr::Kind::kCall) fail("{% call %} expects a call", line);
  callable_body("call", stmt);
  return stmt;
}

Stmt Parser::filter_statement(int line) {
  Stmt stmt{.kind = Stmt::Kind::kFilterBlock, .line = line};
  ExprPtr filters = filter(node(Expr::Kind::kCaptured, line));
  while (take_operator("|")) filters = filter(std::move(filters));
  stmt.exprs.push_back(std::move(filters));
  close("filter", line, stmt.bodies.emplace_back());
  return stmt;
}

Stmt Parser::with_statement(int line) {
  Stmt stmt{.kind = Stmt::Kind::kWith, .line = line};
  while (current().kind != Token::Kind::kBlockEnd) {
    if (!stmt.exprs.empty()) expect_operator(",");
    stmt.exprs.push_back(target(false, nullptr));
    expect_operator("=");
    stmt.exprs.push_back(expression());
  }
  close("with", line, stmt.bodies.emplace_back());
  return stmt;
}

Stmt Parser::generation_statement(int line) {
  Stmt stmt{.kind = Stmt::Kind::kGeneration, .line = line};
  const int loops = std::exchange(loops_, 0);
  close("generation", line, stmt.bodies.emplace_back());
  loops_ = loops;
  return stmt;
}

Stmt Parser::loop_control(Stmt::Kind kind, int line, const std::string& tag) {
  if (loops_ == 0) fail(fmt::format("'{}' outside of a loop", tag), line);
  return {.kind = kind, .line = line};
}

// What is assigned to: names, tuples of them, attributes of a namespace where allowed.
ExprPtr Parser::target(bool with_namespace, const char* end_name) {
  ExprPtr out = target_tuple(with_namespace, end_name);
  check_target(*out);
  return out;
}

void Parser::check_target(const Expr& target) const {
  if (target.kind == Expr::Kind::kName || target.kind == Expr::Kind::kAttribute) {
    if (target.kind == Expr::Kind::kName && target.name == "loop" && loops_ > 0)
      fail("'loop' cannot be assigned to within a loop", target.line);
    return;
  }
  if (target.kind != Expr::Kind::kTuple) fail("expected a name to assign to", target.line);
  for (const ExprPtr& part : target.parts) check_target(*part);
}

}  // namespace ponder::policy::jinja

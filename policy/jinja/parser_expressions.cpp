#include <algorithm>

#include <fmt/format.h>

#include "policy/jinja/parser_impl.h"

namespace ponder::policy::jinja {

ExprPtr Parser::node(Expr::Kind kind, int line) {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = line;
  return expr;
}

ExprPtr Parser::make(ExprPtr expr) const {
  int deepest = 0;
  for (const ExprPtr& part : expr->parts) deepest = std::max(deepest, part ? part->depth : 0);
  for (const ExprPtr* part : {&expr->star, &expr->double_star})
    deepest = std::max(deepest, *part ? (*part)->depth : 0);
  expr->depth = deepest + 1;
  if (expr->depth > kExprDepthMax) fail("an expression is nested too deeply", expr->line);
  return expr;
}

ExprPtr Parser::make(Expr::Kind kind, int line, std::string name, ExprPtr left,
                     ExprPtr right) const {
  ExprPtr expr = node(kind, line);
  expr->name = std::move(name);
  expr->parts.push_back(std::move(left));
  if (right) expr->parts.push_back(std::move(right));
  return make(std::move(expr));
}

bool Parser::tuple_ends(const char* end_name) const {
  return current().kind == Token::Kind::kPrintEnd || current().kind == Token::Kind::kBlockEnd ||
         is_operator(")") || (end_name && is_name(end_name));
}

// An expression, or a tuple of those that commas part.
ExprPtr Parser::tuple(bool with_choice, const char* end_name, bool in_parentheses) {
  ExprPtr out = node(Expr::Kind::kTuple, current().line);
  bool is_tuple = false;
  while (true) {
    if (!out->parts.empty()) expect_operator(",");
    if (tuple_ends(end_name)) break;
    out->parts.push_back(expression(with_choice));
    if (!is_operator(",")) break;
    is_tuple = true;
  }
  if (is_tuple) return make(std::move(out));
  if (!out->parts.empty()) return std::move(out->parts[0]);
  if (!in_parentheses) fail_expected("an expression");
  return out;
}

ExprPtr Parser::target_tuple(bool with_namespace, const char* end_name) {
  ExprPtr out = node(Expr::Kind::kTuple, current().line);
  bool is_tuple = false;
  while (true) {
    if (!out->parts.empty()) expect_operator(",");
    if (tuple_ends(end_name)) break;
    out->parts.push_back(primary(with_namespace));
    if (!is_operator(",")) break;
    is_tuple = true;
  }
  if (is_tuple) return make(std::move(out));
  if (out->parts.empty()) fail_expected("a name");
  return std::move(out->parts[0]);
}

ExprPtr Parser::expression(bool with_choice) {
  const Nesting nesting(*this);
  return with_choice ? choice() : either();
}

ExprPtr Parser::choice() {
  int line = current().line;
  ExprPtr out = either();
  while (take_name("if")) {
    ExprPtr expr = node(Expr::Kind::kChoice, line);
    expr->parts.push_back(either());
    expr->parts.push_back(std::move(out));
    expr->parts.push_back(take_name("else") ? expression() : nullptr);
    out = make(std::move(expr));
    line = current().line;
  }
  return out;
}

ExprPtr Parser::either() {
  ExprPtr left = both();
  while (is_name("or")) {
    const int line = take().line;
    left = make(Expr::Kind::kOr, line, "", std::move(left), both());
  }
  return left;
}

ExprPtr Parser::both() {
  ExprPtr left = negation();
  while (is_name("and")) {
    const int line = take().line;
    left = make(Expr::Kind::kAnd, line, "", std::move(left), negation());
  }
  return left;
}

ExprPtr Parser::negation() {
  if (!is_name("not")) return comparison();
  const Nesting nesting(*this);
  const int line = take().line;
  return make(Expr::Kind::kNot, line, "", negation(), nullptr);
}

ExprPtr Parser::comparison() {
  static constexpr const char* kSigns[] = {"==", "!=", "<", "<=", ">", ">="};
  ExprPtr chain = node(Expr::Kind::kCompare, current().line);
  chain->parts.push_back(sum());
  while (true) {
    const auto sign = std::find_if(std::begin(kSigns), std::end(kSigns),
                                   [&](const char* s) { return is_operator(s); });
    const bool is_not_in =
        is_name("not") && next_token().kind == Token::Kind::kName && next_token().text == "in";
    if (sign != std::end(kSigns)) {
      chain->names.push_back(take().text);
    } else if (is_name("in")) {
      chain->names.push_back(take().text);
    } else if (is_not_in) {
      take();
      take();
      chain->names.emplace_back("not in");
    } else {
      break;
    }
    chain->parts.push_back(sum());
  }
  return chain->names.empty() ? std::move(chain->parts[0]) : make(std::move(chain));
}

ExprPtr Parser::sum() {
  ExprPtr left = concatenation();
  while (is_operator("+") || is_operator("-")) {
    const Token op = take();
    left = make(Expr::Kind::kBinary, op.line, op.text, std::move(left), concatenation());
  }
  return left;
}

ExprPtr Parser::concatenation() {
  ExprPtr out = node(Expr::Kind::kConcat, current().line);
  out->parts.push_back(product());
  while (take_operator("~")) out->parts.push_back(product());
  return out->parts.size() == 1 ? std::move(out->parts[0]) : make(std::move(out));
}

ExprPtr Parser::product() {
  ExprPtr left = power();
  while (is_operator("*") || is_operator("/") || is_operator("//") || is_operator("%")) {
    const Token op = take();
    left = make(Expr::Kind::kBinary, op.line, op.text, std::move(left), power());
  }
  return left;
}

// Left-associative, as in jinja2 and unlike Python.
ExprPtr Parser::power() {
  ExprPtr left = unary(true);
  while (is_operator("**")) {
    const Token op = take();
    left = make(Expr::Kind::kBinary, op.line, op.text, std::move(left), unary(true));
  }
  return left;
}

ExprPtr Parser::unary(bool with_filter) {
  const Nesting nesting(*this);
  ExprPtr out;
  if (is_operator("-") || is_operator("+")) {
    const Token sign = take();
    out = make(sign.text == "-" ? Expr::Kind::kNegate : Expr::Kind::kPlus, sign.line, "",
               unary(false), nullptr);
  } else {
    out = primary(false);
  }
  out = postfix(std::move(out));
  return with_filter ? filters_and_tests(std::move(out)) : std::move(out);
}

ExprPtr Parser::primary(bool with_namespace) {
  const Nesting nesting(*this);
  const Token token = current();
  ExprPtr out = node(Expr::Kind::kConst, token.line);
  if (token.kind == Token::Kind::kName) {
    take();
    const std::string& name = token.text;
    if (name == "true" || name == "True" || name == "false" || name == "False") {
      out->value = Value(name == "true" || name == "True");
    } else if (name != "none" && name != "None") {
      out->kind = Expr::Kind::kName;
      out->name = name;
      mentioned_.takes_caller |= name == "caller";
      mentioned_.takes_varargs |= name == "varargs";
      mentioned_.takes_kwargs |= name == "kwargs";
      if (with_namespace && take_operator(".")) {
        out->kind = Expr::Kind::kAttribute;
        out->names.push_back(expect_any_name());
      }
    }
    return out;
  }
  if (token.kind == Token::Kind::kString) {
    std::string text;
    while (current().kind == Token::Kind::kString) text += take().text;
    out->value = Value::text(std::move(text));
    return out;
  }
  if (token.kind == Token::Kind::kNumber) {
    out->value = take().number;
    return out;
  }
  if (take_operator("(")) {
    out = tuple(true, nullptr, true);
    expect_operator(")");
    return out;
  }
  if (is_operator("[")) return list();
  if (is_operator("{")) return dict();
  fail(fmt::format("unexpected '{}'", describe(token)));
}

ExprPtr Parser::list() {
  ExprPtr out = node(Expr::Kind::kList, take().line);
  while (!is_operator("]")) {
    if (!out->parts.empty()) expect_operator(",");
    if (is_operator("]")) break;
    out->parts.push_back(expression());
  }
  expect_operator("]");
  return make(std::move(out));
}

ExprPtr Parser::dict() {
  ExprPtr out = node(Expr::Kind::kDict, take().line);
  while (!is_operator("}")) {
    if (!out->parts.empty()) expect_operator(",");
    if (is_operator("}")) break;
    out->parts.push_back(expression());
    expect_operator(":");
    out->parts.push_back(expression());
  }
  expect_operator("}");
  return make(std::move(out));
}

ExprPtr Parser::postfix(ExprPtr expr) {
  while (true) {
    if (is_operator(".")) {
      expr = attribute(std::move(expr));
    } else if (is_operator("[")) {
      expr = subscript(std::move(expr));
    } else if (is_operator("(")) {
      expr = call(std::move(expr));
    } else {
      return expr;
    }
  }
}

ExprPtr Parser::filters_and_tests(ExprPtr expr) {
  while (true) {
    if (take_operator("|")) {
      expr = filter(std::move(expr));
    } else if (is_name("is")) {
      expr = test(std::move(expr));
    } else if (is_operator("(")) {
      expr = call(std::move(expr));
    } else {
      return expr;
    }
  }
}

ExprPtr Parser::attribute(ExprPtr object) {
  const int line = take().line;
  const Token name = take();
  if (name.kind == Token::Kind::kName)
    return make(Expr::Kind::kGetattr, line, name.text, std::move(object), nullptr);
  if (name.kind != Token::Kind::kNumber || !name.number.as<int64_t>())
    fail("expected a name or a number after '.'", name.line);
  ExprPtr key = node(Expr::Kind::kConst, name.line);
  key->value = name.number;
  return make(Expr::Kind::kGetitem, line, "", std::move(object), std::move(key));
}

ExprPtr Parser::subscript(ExprPtr object) {
  const int line = take().line;
  ExprPtr keys = node(Expr::Kind::kTuple, line);
  while (!is_operator("]")) {
    if (!keys->parts.empty()) expect_operator(",");
    keys->parts.push_back(subscript_part());
  }
  expect_operator("]");
  if (keys->parts.size() != 1) fail("expected one subscript", line);
  ExprPtr key = std::move(keys->parts[0]);
  if (key->kind != Expr::Kind::kSlice)
    return make(Expr::Kind::kGetitem, line, "", std::move(object), std::move(key));
  key->parts[0] = std::move(object);
  return make(std::move(key));
}

// A key, or a slice whose object is not in yet.
ExprPtr Parser::subscript_part() {
  ExprPtr out = node(Expr::Kind::kSlice, current().line);
  out->parts.resize(4);
  const auto bound = [&]() -> ExprPtr {
    return is_operator(":") || is_operator("]") || is_operator(",") ? nullptr : expression();
  };
  if (!is_operator(":")) {
    ExprPtr first = expression();
    if (!is_operator(":")) return first;
    out->parts[1] = std::move(first);
  }
  expect_operator(":");
  out->parts[2] = bound();
  if (take_operator(":")) out->parts[3] = bound();
  return make(std::move(out));
}

void Parser::arguments(Expr& into) {
  expect_operator("(");
  bool first = true;
  while (!is_operator(")")) {
    if (!first) expect_operator(",");
    if (!first && is_operator(")")) break;
    first = false;
    const bool is_keyword = current().kind == Token::Kind::kName &&
                            next_token().kind == Token::Kind::kOperator && next_token().text == "=";
    if (is_operator("**")) {
      if (into.double_star) fail("a call takes one **");
      take();
      into.double_star = expression();
    } else if (is_operator("*")) {
      if (into.star || into.double_star) fail("a call takes one *, before **");
      take();
      into.star = expression();
    } else if (is_keyword) {
      if (into.double_star) fail("a keyword argument follows **");
      into.names.push_back(take().text);
      take();
      into.parts.push_back(expression());
    } else {
      if (into.star || into.double_star || !into.names.empty())
        fail("a positional argument follows a keyword argument");
      into.parts.push_back(expression());
    }
  }
  expect_operator(")");
}

ExprPtr Parser::call(ExprPtr callee) {
  ExprPtr out = node(Expr::Kind::kCall, current().line);
  out->parts.push_back(std::move(callee));
  arguments(*out);
  return make(std::move(out));
}

ExprPtr Parser::filter(ExprPtr input) {
  ExprPtr out = node(Expr::Kind::kFilter, current().line);
  out->name = expect_any_name();
  while (take_operator(".")) out->name += "." + expect_any_name();
  out->parts.push_back(std::move(input));
  if (is_operator("(")) arguments(*out);
  return make(std::move(out));
}

ExprPtr Parser::test(ExprPtr input) {
  const int line = take().line;
  const bool negated = take_name("not");
  ExprPtr out = node(Expr::Kind::kTest, line);
  out->name = expect_any_name();
  while (take_operator(".")) out->name += "." + expect_any_name();
  out->parts.push_back(std::move(input));
  const Token::Kind kind = current().kind;
  const bool value_follows = kind == Token::Kind::kName || kind == Token::Kind::kString ||
                             kind == Token::Kind::kNumber || is_operator("[") || is_operator("{");
  if (is_operator("(")) {
    arguments(*out);
  } else if (is_name("is")) {
    fail("tests with 'is' cannot be chained");
  } else if (value_follows && !is_name("else") && !is_name("or") && !is_name("and")) {
    out->parts.push_back(postfix(primary(false)));
  }
  out = make(std::move(out));
  return negated ? make(Expr::Kind::kNot, line, "", std::move(out), nullptr) : std::move(out);
}

}  // namespace ponder::policy::jinja

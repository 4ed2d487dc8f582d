// The half of the interpreter that gives expressions their values.
#include <fmt/format.h>

#include "policy/jinja/interpreter.h"
#include "policy/jinja/library.h"
#include "policy/jinja/operations.h"

namespace ponder::policy::jinja {

Value Interpreter::eval(const Expr& expr, Scope& scope) {
  const Depth depth(*this);
  line_ = expr.line;
  const auto part = [&](size_t i) { return eval(*expr.parts[i], scope); };
  switch (expr.kind) {
    case Expr::Kind::kConst:
      return expr.value;
    case Expr::Kind::kCaptured:
      return captured_;
    case Expr::Kind::kName:
      return eval_name(expr, scope);
    case Expr::Kind::kTuple:
      return Value::sequence(Sequence::Flavour::kTuple, eval_all(expr.parts, scope));
    case Expr::Kind::kList:
      return Value::list(eval_all(expr.parts, scope));
    case Expr::Kind::kDict:
      return eval_dict(expr, scope);
    case Expr::Kind::kChoice:
      return eval_choice(expr, scope);
    case Expr::Kind::kOr: {
      Value left = part(0);
      return truthy(left) ? left : part(1);
    }
    case Expr::Kind::kAnd: {
      Value left = part(0);
      return truthy(left) ? part(1) : left;
    }
    case Expr::Kind::kNot:
      return Value(!truthy(part(0)));
    case Expr::Kind::kCompare:
      return eval_compare(expr, scope);
    case Expr::Kind::kBinary: {
      const Value left = part(0), right = part(1);
      line_ = expr.line;
      return arithmetic(expr.name, left, right, budget_);
    }
    case Expr::Kind::kConcat:
      return eval_concat(expr, scope);
    case Expr::Kind::kNegate:
      return negated(part(0));
    case Expr::Kind::kPlus:
      return negated(negated(part(0)));
    case Expr::Kind::kGetattr: {
      const Value object = part(0);
      line_ = expr.line;
      return attribute(object, expr.name);
    }
    case Expr::Kind::kGetitem: {
      const Value object = part(0), key = part(1);
      line_ = expr.line;
      return item(object, key);
    }
    case Expr::Kind::kSlice:
      return eval_slice(expr, scope);
    case Expr::Kind::kCall:
      return eval_call(expr, scope);
    case Expr::Kind::kFilter: {
      const Value input = part(0);
      Arguments arguments = arguments_of(expr, scope);
      line_ = expr.line;
      return filter(expr.name, input, arguments);
    }
    case Expr::Kind::kTest: {
      const Value input = part(0);
      Arguments arguments = arguments_of(expr, scope);
      line_ = expr.line;
      return Value(test(expr.name, input, arguments));
    }
    case Expr::Kind::kAttribute:
      break;
  }
  throw Problem("an assignment's target is no value");
}

Value Interpreter::eval_name(const Expr& expr, Scope& scope) const {
  if (const Value* value = scope.find(expr.name)) return *value;
  if (const auto function = global_function(expr.name)) return *function;
  return Value::undefined(fmt::format("'{}' is undefined", expr.name));
}

std::vector<Value> Interpreter::eval_all(const std::vector<ExprPtr>& exprs, Scope& scope) {
  std::vector<Value> values;
  values.reserve(exprs.size());
  for (const ExprPtr& expr : exprs) values.push_back(eval(*expr, scope));
  return values;
}

Value Interpreter::eval_dict(const Expr& expr, Scope& scope) {
  Dict dict;
  for (size_t i = 0; i < expr.parts.size(); i += 2) {
    const Value key = eval(*expr.parts[i], scope);
    dict.set(key, eval(*expr.parts[i + 1], scope));
  }
  return Value::dict(std::move(dict));
}

Value Interpreter::eval_choice(const Expr& expr, Scope& scope) {
  if (truthy(eval(*expr.parts[0], scope))) return eval(*expr.parts[1], scope);
  if (expr.parts[2]) return eval(*expr.parts[2], scope);
  return Value::undefined(fmt::format(
      "the inline if-expression on line {} evaluated to false and no else section was defined.",
      expr.line));
}

Value Interpreter::eval_compare(const Expr& expr, Scope& scope) {
  Value left = eval(*expr.parts[0], scope);
  for (size_t i = 0; i < expr.names.size(); ++i) {
    Value right = eval(*expr.parts[i + 1], scope);
    line_ = expr.line;
    const std::string& sign = expr.names[i];
    bool holds;
    if (sign == "==" || sign == "!=") {
      holds = equal(left, right, budget_) == (sign == "==");
    } else if (sign == "in" || sign == "not in") {
      holds = contains(right, left, budget_) == (sign == "in");
    } else {
      const int order = compare(left, right, sign.c_str(), budget_);
      holds = sign == "<"    ? order < 0
              : sign == "<=" ? order <= 0
              : sign == ">"  ? order > 0
                             : order >= 0;
    }
    if (!holds) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Value Interpreter::eval_concat(const Expr& expr, Scope& scope) {
  const std::vector<Value> values = eval_all(expr.parts, scope);
  std::string text;
  for (const Value& value : values) append_str(text, value, budget_);
  return Value::text(std::move(text));
}

Value Interpreter::eval_slice(const Expr& expr, Scope& scope) {
  const Value object = eval(*expr.parts[0], scope);
  Value bounds[3];
  for (size_t i = 0; i < 3; ++i) {
    if (expr.parts[i + 1]) bounds[i] = eval(*expr.parts[i + 1], scope);
  }
  line_ = expr.line;
  return slice_of(object, bounds[0], bounds[1], bounds[2], budget_);
}

Value Interpreter::eval_call(const Expr& expr, Scope& scope) {
  const Value callee = eval(*expr.parts[0], scope);
  Arguments arguments = arguments_of(expr, scope);
  line_ = expr.line;
  return call(callee, arguments);
}

Arguments Interpreter::arguments_of(const Expr& expr, Scope& scope) {
  Arguments arguments;
  const size_t first_named = expr.parts.size() - expr.names.size();
  for (size_t i = 1; i < first_named; ++i)
    arguments.positional.push_back(eval(*expr.parts[i], scope));
  if (expr.star) {
    for (Value& value : elements(eval(*expr.star, scope), budget_))
      arguments.positional.push_back(std::move(value));
  }
  for (size_t i = first_named; i < expr.parts.size(); ++i)
    arguments.named.emplace_back(expr.names[i - first_named], eval(*expr.parts[i], scope));
  if (expr.double_star) {
    const Value more = eval(*expr.double_star, scope);
    const Dict* dict = more.as<Dict>();
    if (!dict)
      throw Problem(fmt::format("argument after ** must be a mapping, not {}", type_name(more)));
    for (const auto& [key, value] : dict->entries()) {
      if (!key.as_string()) throw Problem("keywords must be strings");
      arguments.named.emplace_back(*key.as_string(), value);
    }
  }
  return arguments;
}

Value Interpreter::filter(const std::string& name, const Value& input, Arguments& arguments) {
  const Function function = find_filter(name);
  if (!function) throw Problem(fmt::format("no filter named '{}'{}", name, suggest_filter(name)));
  return function(*this, input, arguments);
}

bool Interpreter::test(const std::string& name, const Value& input, Arguments& arguments) {
  const TestFunction function = find_test(name);
  if (!function) throw Problem(fmt::format("no test named '{}'{}", name, suggest_test(name)));
  return function(*this, input, arguments);
}

Value Interpreter::attribute(const Value& object, const std::string& name) {
  if (const Undefined* undefined = object.as<Undefined>()) throw Problem(undefined->message);
  if (const Namespace* ns = object.as_namespace()) {
    const auto place = ns->attributes.find(name);
    if (place != ns->attributes.end()) return place->second;
  } else if (const Callable* callable = object.as<Callable>()) {
    const auto value = callable->attribute ? callable->attribute(name) : std::nullopt;
    if (value) return *value;
  } else if (const auto bound = method(object, name)) {
    return *bound;
  }
  return item_of(object, Value::text(name), budget_);
}

Value Interpreter::item(const Value& object, const Value& key) {
  const Value found = item_of(object, key, budget_);
  return found.is_undefined() && key.as_string() ? attribute(object, *key.as_string()) : found;
}

Value Interpreter::call(const Value& callee, Arguments& arguments) {
  const Depth depth(*this);
  if (const Undefined* undefined = callee.as<Undefined>()) throw Problem(undefined->message);
  const Callable* callable = callee.as<Callable>();
  if (!callable) throw Problem(fmt::format("'{}' object is not callable", type_name(callee)));
  return callable->call(*this, arguments);
}

}  // namespace ponder::policy::jinja

#include "policy/jinja/interpreter.h"

#include <algorithm>

#include <fmt/format.h>

#include "policy/jinja/operations.h"

namespace ponder::policy::jinja {

void Scope::set(const std::string& name, Value value) {
  const auto place =
      std::find_if(names.begin(), names.end(), [&](const auto& n) { return n.first == name; });
  if (place != names.end()) {
    place->second = std::move(value);
  } else {
    names.emplace_back(name, std::move(value));
  }
}

const Value* Scope::find(const std::string& name) const {
  for (const Scope* scope = this; scope; scope = scope->parent) {
    for (const auto& [its_name, value] : scope->names) {
      if (its_name == name) return &value;
    }
  }
  return nullptr;
}

std::string Interpreter::run(const Body& body) {
  out_ = &text_;
  run(body, new_scope(&scopes_.front()));
  return std::move(text_);
}

Scope& Interpreter::new_scope(Scope* parent) {
  budget_.spend(sizeof(Scope));
  return scopes_.emplace_back(Scope{parent});
}

Namespace* Interpreter::new_namespace() {
  budget_.spend(sizeof(Namespace));
  return &namespaces_.emplace_back();
}

Interpreter::Flow Interpreter::run(const Body& body, Scope& scope) {
  for (const Stmt& stmt : body) {
    const Flow flow = run(stmt, scope);
    if (flow != Flow::kOn) return flow;
  }
  return Flow::kOn;
}

Interpreter::Flow Interpreter::run(const Stmt& stmt, Scope& scope) {
  const Depth depth(*this);
  line_ = stmt.line;
  switch (stmt.kind) {
    case Stmt::Kind::kText:
      budget_.spend(stmt.text.size());
      *out_ += stmt.text;
      break;
    case Stmt::Kind::kPrint: {
      const Value value = eval(*stmt.exprs[0], scope);
      append_str(*out_, value, budget_);
      break;
    }
    case Stmt::Kind::kIf:
      return run_if(stmt, scope);
    case Stmt::Kind::kFor:
      return run_for(stmt, scope);
    case Stmt::Kind::kSet:
      assign(*stmt.exprs[0], eval(*stmt.exprs[1], scope), scope);
      break;
    case Stmt::Kind::kSetBlock:
      run_set_block(stmt, scope);
      break;
    case Stmt::Kind::kMacro:
      scope.set(stmt.text, macro(stmt, scope, stmt.text));
      break;
    case Stmt::Kind::kCallBlock:
      run_call_block(stmt, scope);
      break;
    case Stmt::Kind::kFilterBlock: {
      captured_ = Value::text(captured(stmt.bodies[0], new_scope(&scope)));
      const Value value = eval(*stmt.exprs[0], scope);
      append_str(*out_, value, budget_);
      break;
    }
    case Stmt::Kind::kWith:
      run_with(stmt, scope);
      break;
    case Stmt::Kind::kGeneration:
      run_generation(stmt, scope);
      break;
    case Stmt::Kind::kBreak:
      return Flow::kBreak;
    case Stmt::Kind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kOn;
}

Interpreter::Flow Interpreter::run_if(const Stmt& stmt, Scope& scope) {
  for (size_t i = 0; i < stmt.exprs.size(); ++i) {
    if (truthy(eval(*stmt.exprs[i], scope))) return run(stmt.bodies[i], scope);
  }
  return stmt.bodies.size() > stmt.exprs.size() ? run(stmt.bodies.back(), scope) : Flow::kOn;
}

Interpreter::Flow Interpreter::run_for(const Stmt& stmt, Scope& scope) {
  return run_loop(stmt, scope, eval(*stmt.exprs[1], scope), 1);
}

std::string Interpreter::captured(const Body& body, Scope& scope) {
  std::string text, *const around = std::exchange(out_, &text);
  run(body, scope);
  out_ = around;
  return text;
}

void Interpreter::run_set_block(const Stmt& stmt, Scope& scope) {
  captured_ = Value::text(captured(stmt.bodies[0], new_scope(&scope)));
  assign(*stmt.exprs[0], eval(*stmt.exprs[1], scope), scope);
}

void Interpreter::run_with(const Stmt& stmt, Scope& scope) {
  Scope& inner = new_scope(&scope);
  std::vector<Value> values;
  for (size_t i = 0; i < stmt.exprs.size(); i += 2)
    values.push_back(eval(*stmt.exprs[i + 1], scope));
  for (size_t i = 0; i < stmt.exprs.size(); i += 2) assign(*stmt.exprs[i], values[i / 2], inner);
  run(stmt.bodies[0], inner);
}

void Interpreter::run_generation(const Stmt& stmt, Scope& scope) {
  const size_t begin = out_->size();
  run(stmt.bodies[0], new_scope(&scope));
  if (out_ == &text_) generated_.emplace_back(begin, out_->size());
}

void Interpreter::run_call_block(const Stmt& stmt, Scope& scope) {
  const Expr& expr = *stmt.exprs[0];
  const Value callee = eval(*expr.parts[0], scope);
  Arguments arguments = arguments_of(expr, scope);
  arguments.named.emplace_back("caller", macro(stmt, scope, "caller"));
  append_str(*out_, call(callee, arguments), budget_);
}

void Interpreter::assign(const Expr& target, Value value, Scope& scope) {
  if (target.kind == Expr::Kind::kName) {
    scope.set(target.name, std::move(value));
  } else if (target.kind == Expr::Kind::kTuple) {
    unpack(target, value, scope);
  } else {
    const Value* holder = scope.find(target.name);
    Namespace* ns = holder ? holder->as_namespace() : nullptr;
    if (!ns) throw Problem("cannot assign attribute on non-namespace object");
    const std::string& name = target.names[0];
    if (name.starts_with('_'))
      throw Problem(
          fmt::format("a namespace takes no attribute with a leading underscore: {}", name));
    const auto [place, is_new] = ns->attributes.insert_or_assign(name, std::move(value));
    if (is_new) ns->order.push_back(place->first);
  }
}

void Interpreter::unpack(const Expr& target, const Value& value, Scope& scope) {
  if (!value.as<Sequence>() && !value.as<Dict>() && !value.as_string() && !value.is_undefined())
    throw Problem(fmt::format("cannot unpack non-iterable {} object", type_name(value)));
  const std::vector<Value> items = elements(value, budget_);
  if (items.size() != target.parts.size())
    throw Problem(
        fmt::format("expected {} values to unpack, got {}", target.parts.size(), items.size()));
  for (size_t i = 0; i < items.size(); ++i) assign(*target.parts[i], items[i], scope);
}

}  // namespace ponder::policy::jinja

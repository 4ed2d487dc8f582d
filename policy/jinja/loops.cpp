// `for`, its `loop`, and macros: what has a scope and a life of its own.
#include <algorithm>

#include <fmt/format.h>

#include "policy/jinja/interpreter.h"
#include "policy/jinja/operations.h"

namespace ponder::policy::jinja {

// A `for` on its way.
struct Interpreter::Loop {
  std::vector<Value> source;
  std::function<bool(const Value&)> accepts;   // the loop's condition; empty: none
  std::function<Value(const Value&)> descend;  // of a recursive loop
  int depth = 1;
  size_t read = 0;          // of source
  std::deque<Value> ready;  // accepted, not yet gone through
  int64_t index0 = -1;
  std::optional<Value> current, previous;
  std::optional<std::vector<Value>> last_changed;

  bool pull() {
    while (read < source.size()) {
      const Value& item = source[read++];
      if (accepts && !accepts(item)) continue;
      ready.push_back(item);
      return true;
    }
    return false;
  }
  bool advance() {
    if (ready.empty() && !pull()) return false;
    previous = std::move(current);
    current = std::move(ready.front());
    ready.pop_front();
    ++index0;
    return true;
  }
  bool has_next() { return !ready.empty() || pull(); }
  int64_t length() {
    if (!accepts) return static_cast<int64_t>(source.size());
    while (pull()) {
    }
    return index0 + 1 + static_cast<int64_t>(ready.size());
  }
};

Interpreter::Interpreter(const Dict& globals, std::time_t now) : now_(now) {
  Scope& scope = new_scope(nullptr);
  for (const auto& [name, value] : globals.entries()) scope.set(*name.as_string(), value);
}

Interpreter::~Interpreter() = default;

Interpreter::Flow Interpreter::run_loop(const Stmt& stmt, Scope& scope, const Value& iterable,
                                        int depth) {
  Loop* loop = loops_.emplace_back(std::make_unique<Loop>()).get();
  budget_.spend(sizeof(Loop));
  loop->source = elements(iterable, budget_);
  loop->depth = depth;
  if (stmt.exprs[2]) {
    loop->accepts = [this, &stmt, &scope](const Value& item) {
      Scope& inner = new_scope(&scope);
      assign(*stmt.exprs[0], item, inner);
      return truthy(eval(*stmt.exprs[2], inner));
    };
  }
  if (stmt.recursive) {
    loop->descend = [this, &stmt, &scope, depth](const Value& children) {
      const Depth guard(*this);
      std::string text, *const around = std::exchange(out_, &text);
      run_loop(stmt, scope, children, depth + 1);
      out_ = around;
      return Value::text(std::move(text));
    };
  }
  const Value loop_object = loop_value(loop);
  // As in jinja2 a turn that `break` or `continue` cut does not count: `else` may follow it.
  bool no_whole_turn = true;
  while (loop->advance()) {
    Scope& inner = new_scope(&scope);
    inner.set("loop", loop_object);
    assign(*stmt.exprs[0], *loop->current, inner);
    const Flow flow = run(stmt.bodies[0], inner);
    if (flow == Flow::kBreak) break;
    no_whole_turn &= flow != Flow::kOn;
  }
  return no_whole_turn ? run(stmt.bodies[1], new_scope(&scope)) : Flow::kOn;
}

Value Interpreter::loop_value(Loop* loop) {
  Callable object;
  object.name = "loop";
  object.call = [loop](Interpreter& run, Arguments& arguments) {
    const auto bound = arguments.bind("loop()", {"iterable"}, 1);
    if (!loop->descend)
      throw Problem("The loop must have the 'recursive' marker to be called recursively.");
    (void)run;
    return loop->descend(*bound[0]);
  };
  object.attribute = [loop](const std::string& name) -> std::optional<Value> {
    if (name == "index") return Value(loop->index0 + 1);
    if (name == "index0") return Value(loop->index0);
    if (name == "first") return Value(loop->index0 == 0);
    if (name == "last") return Value(!loop->has_next());
    if (name == "length") return Value(loop->length());
    if (name == "revindex") return Value(loop->length() - loop->index0);
    if (name == "revindex0") return Value(loop->length() - loop->index0 - 1);
    if (name == "depth") return Value(int64_t{loop->depth});
    if (name == "depth0") return Value(int64_t{loop->depth} - 1);
    if (name == "previtem")
      return loop->index0 > 0 ? *loop->previous : Value::undefined("there is no previous item");
    if (name == "nextitem")
      return loop->has_next() ? loop->ready.front() : Value::undefined("there is no next item");
    if (name == "cycle") {
      return Value::callable({"loop.cycle", [loop](Interpreter&, Arguments& arguments) {
                                if (arguments.positional.empty())
                                  throw Problem("no items for cycling given");
                                return arguments.positional[static_cast<size_t>(loop->index0) %
                                                            arguments.positional.size()];
                              }});
    }
    if (name == "changed") {
      return Value::callable({"loop.changed", [loop](Interpreter& run, Arguments& arguments) {
                                const bool same =
                                    loop->last_changed &&
                                    equal(Value::list(*loop->last_changed),
                                          Value::list(arguments.positional), run.budget());
                                if (!same) loop->last_changed = arguments.positional;
                                return Value(!same);
                              }});
    }
    return std::nullopt;
  };
  return Value::callable(std::move(object));
}

Value Interpreter::macro(const Stmt& stmt, Scope& scope, const std::string& name) {
  Callable object;
  object.name = name;
  object.call = [&stmt, &scope, name](Interpreter& run, Arguments& arguments) {
    return run.call_macro(stmt, scope, name, arguments);
  };
  object.attribute = [name](const std::string& attribute) -> std::optional<Value> {
    return attribute == "name" ? std::optional(Value::text(name)) : std::nullopt;
  };
  return Value::callable(std::move(object));
}

Value Interpreter::call_macro(const Stmt& stmt, Scope& scope, const std::string& name,
                              const Arguments& arguments) {
  Scope& inner = new_scope(&scope);
  const Signature& signature = stmt.signature;
  bind_extra(stmt, name, arguments, inner);
  const size_t num_required = signature.names.size() - signature.defaults.size();
  for (size_t i = 0; i < signature.names.size(); ++i) {
    const std::string& parameter = signature.names[i];
    const auto named = std::find_if(arguments.named.begin(), arguments.named.end(),
                                    [&](const auto& n) { return n.first == parameter; });
    Value value;
    if (i < arguments.positional.size()) {
      value = arguments.positional[i];
    } else if (named != arguments.named.end()) {
      value = named->second;
    } else if (i >= num_required) {
      value = eval(*signature.defaults[i - num_required], inner);
    } else {
      value = Value::undefined(fmt::format("parameter '{}' was not provided", parameter));
    }
    inner.set(parameter, std::move(value));
  }
  return Value::text(captured(stmt.bodies[0], inner));
}

// Arguments beyond the parameters: `varargs`, `kwargs`, `caller`, or a Problem.
void Interpreter::bind_extra(const Stmt& stmt, const std::string& name, const Arguments& arguments,
                             Scope& inner) {
  const Signature& signature = stmt.signature;
  const size_t count = signature.names.size();
  std::vector<Value> varargs;
  for (size_t i = count; i < arguments.positional.size(); ++i)
    varargs.push_back(arguments.positional[i]);
  if (!varargs.empty() && !signature.takes_varargs)
    throw Problem(fmt::format("macro '{}' takes not more than {} argument(s)", name, count));
  Dict kwargs;
  Value caller = Value::undefined("No caller defined");
  for (const auto& [key, value] : arguments.named) {
    const auto place = std::find(signature.names.begin(), signature.names.end(), key);
    const bool is_parameter =
        place != signature.names.end() &&
        static_cast<size_t>(place - signature.names.begin()) >= arguments.positional.size();
    if (is_parameter) continue;
    if (key == "caller" && signature.takes_caller) {
      caller = value;
    } else if (signature.takes_kwargs) {
      kwargs.set(Value::text(key), value);
    } else {
      throw Problem(fmt::format("macro '{}' takes no keyword argument '{}'", name, key));
    }
  }
  if (signature.takes_caller) inner.set("caller", std::move(caller));
  if (signature.takes_kwargs) inner.set("kwargs", Value::dict(std::move(kwargs)));
  if (signature.takes_varargs)
    inner.set("varargs", Value::sequence(Sequence::Flavour::kTuple, std::move(varargs)));
}

}  // namespace ponder::policy::jinja

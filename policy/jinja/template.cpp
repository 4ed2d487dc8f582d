#include "policy/jinja/template.h"

#include "core/error.h"
#include "policy/jinja/interpreter.h"
#include "policy/jinja/lexer.h"
#include "policy/jinja/parser.h"
#include "policy/utf8.h"

namespace ponder::policy::jinja {

struct Template::Impl {
  std::string where;
  Body body;
};

Template Template::parse(std::string_view source, std::string where) {
  if (!is_utf8(source)) core::throw_user("{}: the template is not UTF-8", where);
  try {
    Body body = jinja::parse(source);
    return Template(std::make_shared<const Impl>(Impl{std::move(where), std::move(body)}));
  } catch (const SyntaxProblem& problem) {
    core::throw_user("{}:{}: {}", where, problem.line, problem.message);
  }
}

Rendered Template::render(const nlohmann::ordered_json& globals, std::time_t now) const {
  int line = 0;
  try {
    const Value names = Value::from_json(globals);
    PONDER_CHECK(names.as<Dict>(), "[Template::render] expected an object, got {}",
                 globals.type_name());
    Interpreter run(*names.as<Dict>(), now);
    try {
      std::string text = run.run(impl_->body);
      return {std::move(text), run.generated()};
    } catch (const Problem&) {
      line = run.line();
      throw;
    }
  } catch (const Problem& problem) {
    if (line == 0) core::throw_user("{}: the chat's data: {}", impl_->where, problem.what());
    core::throw_user("{}:{}: {}", impl_->where, line, problem.what());
  }
}

}  // namespace ponder::policy::jinja

// Our side of the comparison with jinja2 and transformers (jinja_oracle.py): JSON lines in, one
// answer a line out. {"template", "context"} renders a bare template, {"folder", "messages",
// "options"} a chat with the folder's template; the answer is {"text", "generated"} or {"error"}.
#include <iostream>
#include <string>

#include "core/error.h"
#include "policy/chat_template.h"

namespace {

using ponder::policy::ChatTemplate;
using ponder::policy::OrderedJson;

ponder::policy::jinja::Rendered answer(const OrderedJson& request) {
  if (request.contains("template")) {
    return ponder::policy::jinja::Template::parse(request["template"].get<std::string>(),
                                                  "template")
        .render(request["context"], 0);
  }
  const OrderedJson& given = request["options"];
  ponder::policy::ChatOptions options;
  options.add_generation_prompt = given.value("add_generation_prompt", false);
  options.continue_final_message = given.value("continue_final_message", "");
  options.template_name = given.value("template_name", "");
  options.tools = given.value("tools", OrderedJson());
  options.documents = given.value("documents", OrderedJson());
  options.variables = given.value("variables", OrderedJson::object());
  return ChatTemplate::load(request["folder"].get<std::string>())
      .render(request["messages"], options);
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    OrderedJson out;
    try {
      const auto rendered = answer(OrderedJson::parse(line));
      out = {{"text", rendered.text}, {"generated", rendered.generated}};
    } catch (const ponder::core::UserError& error) {
      out = {{"error", error.what()}};
    }
    std::cout << out.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) << "\n";
  }
}

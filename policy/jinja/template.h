// A Jinja template as chat templates use it: text in, text out, and nothing else: it opens no file,
// loads no other template and cannot hang (bounded work, depth and memory). The language is
// jinja2 3.1's as transformers sets it up (trim_blocks, lstrip_blocks, loopcontrols, {% generation
// %}, tojson without HTML escapes), without what loads templates, HTML escaping and printf-style
// formatting.
#pragma once

#include <cstddef>
#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ponder::policy::jinja {

struct Rendered {
  std::string text;
  // Bytes [begin, end) of `text` that {% generation %} encloses: what the assistant says.
  std::vector<std::pair<size_t, size_t>> generated;
};

// A cheap handle to an immutable template; may be rendered by many threads at once.
class Template {
 public:
  // `where` stands for the template in errors ("DIR/chat_template.jinja"). Throws UserError with
  // the line for broken syntax.
  static Template parse(std::string_view source, std::string where);

  // `globals`: an object, the names that the template sees, in their order. `now`: for
  // strftime_now, in local time. Throws UserError with the template's line: raise_exception(), an
  // undefined value used, a type that does not fit, too much work.
  Rendered render(const nlohmann::ordered_json& globals, std::time_t now) const;

 private:
  struct Impl;
  explicit Template(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

}  // namespace ponder::policy::jinja

// Tokens of a template -> its statements. The grammar is jinja2 3.1's with the extensions that
// transformers adds (loopcontrols, generation), without what loads other templates (extends, block,
// include, import) and autoescape.
#pragma once

#include <string_view>

#include "policy/jinja/ast.h"

namespace ponder::policy::jinja {

// Throws SyntaxProblem (lexer.h).
Body parse(std::string_view source);

}  // namespace ponder::policy::jinja

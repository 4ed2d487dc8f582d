// The text of a template in tokens, with the white space control that transformers sets:
// trim_blocks, lstrip_blocks, no trailing newline (jinja2/lexer.py 3.1).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "policy/jinja/value.h"

namespace ponder::policy::jinja {

struct Token {
  enum class Kind {
    kText,
    kPrintBegin,
    kPrintEnd,
    kBlockBegin,
    kBlockEnd,
    kName,
    kString,
    kNumber,
    kOperator,
    kEnd
  };
  Kind kind;
  int line;
  std::string text;  // data, name, string's content, operator
  Value number = {};
};

// What a token is called in an error.
std::string describe(const Token& token);

// A Problem at a line of the template: broken syntax.
struct SyntaxProblem {
  int line;
  std::string message;
};

// Throws SyntaxProblem. The last token is kEnd.
std::vector<Token> tokenize(std::string_view source);

}  // namespace ponder::policy::jinja

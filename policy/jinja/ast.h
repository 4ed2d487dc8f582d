// A parsed template. Depths are bounded by the parser, so that walking and destroying need no care.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "policy/jinja/value.h"

namespace ponder::policy::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Expr {
  enum class Kind {
    kConst,     // value
    kName,      // name
    kTuple,     // parts
    kList,      // parts
    kDict,      // parts: key, value, key, value, ...
    kChoice,    // parts: condition, then, else (may be null)
    kOr,        // parts: left, right
    kAnd,       // parts: left, right
    kNot,       // parts: operand
    kCompare,   // parts: n + 1 operands; names: n operators ("==", "in", "not in")
    kBinary,    // name: operator; parts: left, right
    kConcat,    // parts, joined as texts
    kNegate,    // parts: operand
    kPlus,      // parts: operand
    kGetattr,   // parts: object; name
    kGetitem,   // parts: object, key
    kSlice,     // parts: object, start, stop, step (each may be null but the first)
    kCall,      // parts: callee, arguments
    kFilter,    // name; parts: input, arguments
    kTest,      // name; parts: input, arguments
    kCaptured,  // the text that a block made: input of the filters of {% filter %} and {% set %}
    kAttribute  // a target: the attribute names[0] of the namespace `name`
  };
  Kind kind;
  int line = 0;
  int depth = 1;
  std::string name = {};
  Value value = {};
  std::vector<ExprPtr> parts = {};
  std::vector<std::string> names =
      {};  // of a call: keywords of the last parts; of a comparison: operators
  ExprPtr star = {}, double_star = {};  // of a call: *list, **dict
};

struct Signature {
  std::vector<std::string> names;
  std::vector<ExprPtr> defaults;  // of the last names
  // Of a macro: its body mentions `caller`, `varargs`, `kwargs`, so it takes such arguments.
  bool takes_caller = false, takes_varargs = false, takes_kwargs = false;
};

struct Stmt {
  enum class Kind {
    kText,         // text
    kPrint,        // exprs[0]
    kIf,           // exprs[i] leads to bodies[i]; one body more: else
    kFor,          // exprs: target, iterable, condition (may be null); bodies: body, else
    kSet,          // exprs: target, value
    kSetBlock,     // exprs: target, filters (null: none); bodies[0]
    kMacro,        // text: name; signature; bodies[0]
    kCallBlock,    // exprs[0]: the call; signature; bodies[0]
    kFilterBlock,  // exprs[0]: filters; bodies[0]
    kWith,         // exprs: target, value, target, value, ...; bodies[0]
    kGeneration,   // bodies[0]: what the assistant says
    kBreak,
    kContinue
  };
  Kind kind;
  int line = 0;
  std::string text = {};
  std::vector<ExprPtr> exprs = {};
  std::vector<std::vector<Stmt>> bodies = {};
  Signature signature = {};
  bool recursive = false;  // of a loop
};

using Body = std::vector<Stmt>;

}  // namespace ponder::policy::jinja

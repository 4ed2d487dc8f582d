#include "rewards/math/lexer_names.h"

#include <unordered_map>

namespace ponder::rewards::math {
namespace {

using Table = std::unordered_map<std::string_view, KnownName>;

void add_functions(Table& table) {
  static constexpr struct {
    const char* name;
    Op op;
  } kFunctions[] = {{"sin", Op::kSin},
                    {"cos", Op::kCos},
                    {"tan", Op::kTan},
                    {"cot", Op::kCot},
                    {"sec", Op::kSec},
                    {"csc", Op::kCsc},
                    {"cosec", Op::kCsc},
                    {"tg", Op::kTan},
                    {"ctg", Op::kCot},
                    {"arcsin", Op::kAsin},
                    {"arccos", Op::kAcos},
                    {"arctan", Op::kAtan},
                    {"asin", Op::kAsin},
                    {"acos", Op::kAcos},
                    {"atan", Op::kAtan},
                    {"arccot", Op::kAcot},
                    {"arcsec", Op::kAsec},
                    {"arccsc", Op::kAcsc},
                    {"arctg", Op::kAtan},
                    {"sinh", Op::kSinh},
                    {"cosh", Op::kCosh},
                    {"tanh", Op::kTanh},
                    {"coth", Op::kCoth},
                    {"asinh", Op::kAsinh},
                    {"acosh", Op::kAcosh},
                    {"atanh", Op::kAtanh},
                    {"arcsinh", Op::kAsinh},
                    {"arccosh", Op::kAcosh},
                    {"arctanh", Op::kAtanh},
                    {"ln", Op::kLn},
                    {"log", Op::kLog},
                    {"lg", Op::kLog},
                    {"exp", Op::kExp},
                    {"abs", Op::kAbs},
                    {"floor", Op::kFloor},
                    {"ceil", Op::kCeil},
                    {"gcd", Op::kGcd},
                    {"lcm", Op::kLcm},
                    {"max", Op::kMax},
                    {"min", Op::kMin},
                    {"factorial", Op::kFactorial}};
  for (const auto& known : kFunctions) {
    table[known.name] = {.token = {.kind = Tok::kFunction, .op = known.op, .text = known.name}};
  }
}

void add_tokens(Table& table) {
  auto kinds = [&](Tok kind, std::initializer_list<const char*> names) {
    for (const char* name : names) table[name] = {.token = {.kind = kind}};
  };
  auto relations = [&](Rel rel, std::initializer_list<const char*> names) {
    for (const char* name : names) table[name] = {.token = {.kind = Tok::kRelation, .rel = rel}};
  };
  auto constants = [&](Op op, std::initializer_list<const char*> names) {
    for (const char* name : names) table[name] = {.token = {.kind = Tok::kConstant, .op = op}};
  };
  auto brackets = [&](Tok kind, char ch, std::initializer_list<const char*> names) {
    for (const char* name : names) table[name] = {.token = {.kind = kind, .ch = ch}};
  };
  kinds(Tok::kFrac, {"frac", "dfrac", "tfrac", "cfrac"});
  kinds(Tok::kSqrt, {"sqrt"});
  kinds(Tok::kBinom, {"binom", "dbinom", "tbinom"});
  kinds(Tok::kOver, {"over", "choose"});
  table["choose"].token.op = Op::kBinomial;
  kinds(Tok::kSum, {"sum"});
  kinds(Tok::kProd, {"prod"});
  kinds(Tok::kOverline, {"overline", "bar"});
  kinds(Tok::kPlusMinus, {"pm"});
  kinds(Tok::kMinusPlus, {"mp"});
  kinds(Tok::kTimes, {"cdot", "ast", "star", "bullet"});
  kinds(Tok::kCross, {"times"});
  kinds(Tok::kSlash, {"div"});
  kinds(Tok::kMod, {"mod", "bmod", "pmod"});
  table["pmod"].token.text = "pmod";
  kinds(Tok::kPercent, {"%"});
  kinds(Tok::kDegree, {"circ", "degree", "degrees"});
  kinds(Tok::kPrime, {"prime"});
  kinds(Tok::kBar, {"vert", "|", "Vert"});
  kinds(Tok::kLeftBar, {"lvert"});
  kinds(Tok::kRightBar, {"rvert"});
  kinds(Tok::kMid, {"mid"});
  kinds(Tok::kRow, {"\\", "newline", "cr"});
  kinds(Tok::kApprox, {"approx", "simeq", "doteq"});
  kinds(Tok::kColon, {"colon"});
  kinds(Tok::kEllipsis, {"ldots", "dots", "cdots", "dotsc", "dotsb", "vdots", "ddots"});
  kinds(Tok::kUnion, {"cup", "bigcup"});
  kinds(Tok::kIntersection, {"cap", "bigcap"});
  kinds(Tok::kDifference, {"setminus", "backslash", "smallsetminus"});
  for (const char* sign : {"land", "wedge"})
    table[sign] = {.token = {.kind = Tok::kConnective, .text = "land"}};
  for (const char* sign : {"lor", "vee"})
    table[sign] = {.token = {.kind = Tok::kConnective, .text = "lor"}};
  relations(Rel::kEq, {"equiv", "eq"});
  relations(Rel::kNe, {"ne", "neq"});
  relations(Rel::kLt, {"lt"});
  relations(Rel::kGt, {"gt"});
  relations(Rel::kLe, {"le", "leq", "leqslant", "leqq"});
  relations(Rel::kGe, {"ge", "geq", "geqslant", "geqq"});
  relations(Rel::kIn, {"in"});
  relations(Rel::kOther, {"subset", "subseteq", "supset", "supseteq", "notin", "to", "rightarrow",
                          "Rightarrow", "implies", "iff", "Leftrightarrow", "mapsto", "propto",
                          "cong", "sim", "perp", "parallel", "longrightarrow", "leftrightarrow"});
  constants(Op::kPi, {"pi"});
  constants(Op::kInfinity, {"infty"});
  constants(Op::kEmptySet, {"emptyset", "varnothing"});
  constants(Op::kImaginary, {"imath"});
  brackets(Tok::kOpen, 'S', {"{", "lbrace"});
  brackets(Tok::kClose, 'S', {"}", "rbrace"});
  brackets(Tok::kOpen, '(', {"lparen"});
  brackets(Tok::kClose, ')', {"rparen"});
  brackets(Tok::kOpen, '[', {"lbrack"});
  brackets(Tok::kClose, ']', {"rbrack"});
  brackets(Tok::kOpen, 'A', {"langle"});
  brackets(Tok::kClose, 'A', {"rangle"});
  brackets(Tok::kOpen, 'f', {"lfloor"});
  brackets(Tok::kClose, 'f', {"rfloor"});
  brackets(Tok::kOpen, 'c', {"lceil"});
  brackets(Tok::kClose, 'c', {"rceil"});
}

void add_commands(Table& table) {
  auto commands = [&](Command command, std::initializer_list<const char*> names) {
    for (const char* name : names) table[name] = {.command = command, .token = {.text = name}};
  };
  commands(Command::kLetter,
           {"alpha",   "beta",     "gamma", "delta",   "epsilon", "varepsilon", "zeta", "eta",
            "theta",   "vartheta", "iota",  "kappa",   "lambda",  "mu",         "nu",   "xi",
            "rho",     "sigma",    "tau",   "upsilon", "phi",     "varphi",     "chi",  "psi",
            "omega",   "Gamma",    "Delta", "Theta",   "Lambda",  "Xi",         "Pi",   "Sigma",
            "Upsilon", "Phi",      "Psi",   "Omega",   "ell",     "hbar"});
  commands(Command::kSkip, {"displaystyle",
                            "textstyle",
                            "scriptstyle",
                            "limits",
                            "nolimits",
                            "quad",
                            "qquad",
                            "nonumber",
                            "strut",
                            "mathstrut",
                            "normalsize",
                            "large",
                            "Large",
                            "hfill",
                            "hline",
                            "$",
                            "angle",
                            "triangle",
                            "bigtriangleup",
                            "therefore",
                            "because",
                            "operatorname*",
                            "rm",
                            "bf",
                            "it",
                            "noindent",
                            "allowbreak",
                            "ensuremath",
                            "pounds",
                            "euro",
                            "textdollar",
                            "mathdollar",
                            "#",
                            "_",
                            "-",
                            "(",
                            ")",
                            "[",
                            "]",
                            "/"});
  commands(Command::kThin, {",", ";", ":", "!", " ", "thinspace", ">", "enspace", "medspace"});
  commands(Command::kSkipGroup,
           {"hspace", "vspace", "phantom", "hphantom", "label", "tag", "color", "ref"});
  commands(Command::kDelimiter, {"left", "right", "big", "Big", "bigg", "Bigg", "bigl", "bigr",
                                 "Bigl", "Bigr", "biggl", "biggr", "Biggl", "Biggr", "middle"});
  commands(Command::kTextGroup, {"text", "mbox", "textbf", "textit", "textrm", "textnormal",
                                 "texttt", "textsf", "hbox", "textup", "emph", "underline"});
  commands(Command::kFontGroup,
           {"mathrm", "mathit", "mathsf", "mathtt", "mathnormal", "operatorname", "mathcal",
            "mathscr", "mathfrak", "mathop", "mathord"});
  commands(Command::kVectorGroup, {"mathbf", "boldsymbol", "bm", "vec", "overrightarrow", "pmb"});
  commands(Command::kUnwrap,
           {"boxed", "fbox", "hat", "widehat", "tilde", "widetilde", "dot", "ddot", "underbrace",
            "overbrace", "cancel", "mathopen", "mathclose", "mathbin"});
  commands(Command::kBlackboard, {"mathbb", "Bbb"});
  commands(Command::kBegin, {"begin"});
  commands(Command::kEnd, {"end"});
}

}  // namespace

const KnownName* find_command(std::string_view name) {
  static const Table kTable = [] {
    Table table;
    add_functions(table);
    add_tokens(table);
    add_commands(table);
    for (const char* wide :
         {"iint", "int", "oint", "lim", "limsup", "partial", "nabla", "zeta", "det"}) {
      if (!table.contains(wide)) table[wide] = {.token = {.kind = Tok::kName, .text = wide}};
    }
    table["Re"] = {.token = {.kind = Tok::kFunction, .op = Op::kRe, .text = "Re"}};
    table["Im"] = {.token = {.kind = Tok::kFunction, .op = Op::kIm, .text = "Im"}};
    table["det"] = {.token = {.kind = Tok::kName, .text = "det"}};
    table["jmath"] = {.token = {.kind = Tok::kLetter, .text = "j"}};
    // Two shapes of one letter.
    for (const char* letter : {"epsilon", "theta", "phi", "rho", "sigma", "kappa"})
      table["var" + std::string(letter)] = {.command = Command::kLetter, .token = {.text = letter}};
    return table;
  }();
  const auto found = kTable.find(name);
  return found == kTable.end() ? nullptr : &found->second;
}

const KnownName* find_word(std::string_view name) {
  static const Table kTable = [] {
    Table table;
    add_functions(table);
    table["sqrt"] = {.token = {.kind = Tok::kSqrt}};
    table["pi"] = {.token = {.kind = Tok::kConstant, .op = Op::kPi}};
    for (const char* infinity : {"inf", "infinity", "infty", "oo", "Infinity"}) {
      table[infinity] = {.token = {.kind = Tok::kConstant, .op = Op::kInfinity}};
    }
    for (const char* percent : {"percent", "percentage", "pct"})
      table[percent] = {.token = {.kind = Tok::kPercent}};
    for (const char* degree : {"degrees", "degree"})
      table[degree] = {.token = {.kind = Tok::kDegree}};
    for (const char* connective : {"and", "or", "AND", "OR"}) {
      table[connective] = {.token = {.kind = Tok::kConnective, .text = connective}};
    }
    table["mod"] = {.token = {.kind = Tok::kMod}};
    table["binom"] = {.token = {.kind = Tok::kFunction, .op = Op::kBinomial, .text = "binom"}};
    return table;
  }();
  const auto found = kTable.find(name);
  return found == kTable.end() ? nullptr : &found->second;
}

}  // namespace ponder::rewards::math

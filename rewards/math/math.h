// Is the answer in this completion equal to that gold? The math checker: extraction, one grammar
// for LaTeX, plain text and Python-like input, and equality decided by exact arithmetic first. It
// bounds its work by counters (bytes, nodes, depth, bits), never by a clock, uses no signal and no
// global state, and may be called from any number of threads. It knows nothing of prompts, tokens
// or weights.
//
// How equality is decided (scalar.h): rationals by GMP; rational functions of any size by
// evaluation in two prime fields of 61 bits (a difference there is a proof, agreement at random
// points errs with probability < degree / 2^100); everything else (radicals, logarithms,
// trigonometry, powers with symbols) by complex ball arithmetic (Arb, arXiv:1611.02831): disjoint
// balls are a proof of difference, balls that overlap at 640 bits with no intermediate beyond
// 2^±160 are taken as equal. Expansion into canonical polynomials was not chosen because its cost
// is not bounded by the size of the input ((a+b+c)^500).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ponder::rewards {

// The defaults are Math-Verify 0.9's where it has the option.
struct MathOptions {
  // Names of variables matter: f(x) is not f(y). Off: an answer may rename them, in order of
  // appearance.
  bool strict = true;
  // A decimal stands for a number that it is not exactly equal to only if it has at least this many
  // decimals and significant digits, all of them right (the last one rounded or cut): 0.333333 for
  // 1/3, never 3.14 for pi.
  int64_t float_rounding = 6;
  // 28% equals 28 and 0.28. Off: only 28% and 0.28.
  bool percent_equals_decimal = true;
  // A gold interval may be answered by an inequality (the other way round always holds): (5, oo) by
  // x > 5.
  bool allow_set_relation_comp = false;
};

enum class MathStatus {
  kRight,
  kWrong,         // parsed and not equal, or not shown to be equal
  kUnparsed,      // the completion holds no answer, or one that is not mathematics
  kUnparsedGold,  // the gold cannot be read: not a verdict on the completion
  kRefused,  // the gold or the answer is beyond the work budget and the two are not the same text
};

// "right", "wrong", "unparsed", "unparsed gold", "refused".
const char* name_of(MathStatus status);

struct MathVerdict {
  MathStatus status = MathStatus::kUnparsed;
  std::string answer{};  // the extracted answer as written, cut at 200 bytes and made valid UTF-8
  std::string reason{};  // one line for a person
};

// Judges `completion` (any bytes: generated text only, without the prompt) against `gold` (bare
// mathematics, or text with the answer in $..$ or \boxed). Never throws on any input; time is
// linear in the completion, and bounded for the answer.
MathVerdict check_math(std::string_view completion, std::string_view gold,
                       const MathOptions& options = {});

// Whether a gold can be read at all; the reason if not. For checking a dataset before training.
MathVerdict check_gold(std::string_view gold, const MathOptions& options = {});

}  // namespace ponder::rewards

#include <cstdlib>

#include <fmt/format.h>

#include "data/tasks/makers.h"

namespace ponder::data {
namespace {

constexpr int64_t kValueMax = 1'000'000'000'000'000;  // doubles hold it exactly, so readers agree
constexpr double kNestedShare = 0.3;
constexpr int kTries = 300;  // operands drawn for one problem: a quotient must come out whole

// An expression with its value and how tightly its last operator binds: 2 a number or a pair of
// parentheses, 1 a product or quotient, 0 a sum or difference.
struct Expression {
  std::string text;
  int64_t value = 0;
  int binding = 2;
};

int64_t draw_number(core::Rng& rng, int64_t max_digits) {
  int64_t bound = 10;
  for (int64_t digits = rng.integer(1, max_digits); digits > 1; --digits) bound *= 10;
  return rng.integer(1, bound - 1);
}

int binding_of(char op) {
  return op == '*' || op == '/' ? 1 : 0;
}

std::string as_operand(const Expression& e, char op, bool right) {
  const bool tight = e.binding > binding_of(op) || (e.binding == binding_of(op) && !right);
  return tight ? e.text : "(" + e.text + ")";
}

// False where the result is no whole number or too large.
bool apply(char op, int64_t left, int64_t right, int64_t& out) {
  switch (op) {
    case '+':
      out = left + right;
      break;
    case '-':
      out = left - right;
      break;
    case '*':
      if (__builtin_mul_overflow(left, right, &out)) return false;
      break;
    default:
      if (right == 0 || left % right != 0) return false;
      out = left / right;
  }
  return std::abs(out) <= kValueMax;
}

std::optional<Expression> draw_expression(core::Rng& rng, int64_t terms,
                                          const ArithmeticOptions& options, int& tries) {
  if (terms == 1) {
    const int64_t value = draw_number(rng, options.max_digits);
    return Expression{std::to_string(value), value, 2};
  }
  // Mostly a chain that grows to the right; now and then two halves.
  const int64_t left_terms = rng.chance(kNestedShare) ? rng.integer(1, terms - 1) : terms - 1;
  const auto left = draw_expression(rng, left_terms, options, tries);
  if (!left) return std::nullopt;
  while (tries-- > 0) {
    const auto right = draw_expression(rng, terms - left_terms, options, tries);
    const char op =
        options.operators[rng.integer(0, static_cast<int64_t>(options.operators.size()) - 1)];
    Expression out;
    if (!right || !apply(op, left->value, right->value, out.value)) continue;
    out.binding = binding_of(op);
    out.text =
        fmt::format("{} {} {}", as_operand(*left, op, false), op, as_operand(*right, op, true));
    return out;
  }
  return std::nullopt;
}

}  // namespace

std::optional<Prompt> make_arithmetic(core::Rng& rng, const ArithmeticOptions& options) {
  const int64_t terms = rng.integer(options.min_terms, options.max_terms);
  int tries = kTries;
  const auto expression = draw_expression(rng, terms, options, tries);
  if (!expression) return std::nullopt;
  Prompt prompt;
  prompt.id = expression->text;
  prompt.text = fmt::format("Calculate {}.", expression->text);
  prompt.answer = expression->value;
  return prompt;
}

}  // namespace ponder::data

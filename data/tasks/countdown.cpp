#include <fmt/format.h>
#include <fmt/ranges.h>

#include "data/tasks/makers.h"

namespace ponder::data {
namespace {

struct Part {
  int64_t value;
  std::string text;
};

// One of the ways to join two parts that gives a positive whole number; sum and product always do.
Part join(core::Rng& rng, const Part& a, const Part& b) {
  const Part& high = a.value >= b.value ? a : b;
  const Part& low = a.value >= b.value ? b : a;
  for (;;) {
    switch (rng.integer(0, 3)) {
      case 0:
        return {a.value + b.value, fmt::format("({} + {})", a.text, b.text)};
      case 1:
        if (high.value == low.value) continue;
        return {high.value - low.value, fmt::format("({} - {})", high.text, low.text)};
      case 2:
        return {a.value * b.value, fmt::format("({} * {})", a.text, b.text)};
      default:
        if (high.value % low.value != 0) continue;
        return {high.value / low.value, fmt::format("({} / {})", high.text, low.text)};
    }
  }
}

// Joins the numbers two by two in a random order until one expression is left.
Part draw_solution(core::Rng& rng, const std::vector<int64_t>& numbers) {
  std::vector<Part> parts;
  for (const int64_t number : numbers) parts.push_back({number, std::to_string(number)});
  while (parts.size() > 1) {
    const auto take = [&] {
      const int64_t at = rng.integer(0, static_cast<int64_t>(parts.size()) - 1);
      const Part part = parts[at];
      parts.erase(parts.begin() + at);
      return part;
    };
    const Part first = take(), second = take();
    parts.push_back(join(rng, first, second));
    // The product of eight large numbers would not fit, and no target is that large.
    if (parts.back().value > 1'000'000'000) return {0, ""};
  }
  return parts.front();
}

}  // namespace

std::optional<Prompt> make_countdown(core::Rng& rng, const CountdownOptions& options) {
  std::vector<int64_t> numbers(rng.integer(options.min_numbers, options.max_numbers));
  for (int64_t& number : numbers) number = rng.integer(1, options.max_number);
  const Part solution = draw_solution(rng, numbers);
  if (solution.value < 1 || solution.value > options.max_target) return std::nullopt;
  Prompt prompt;
  prompt.id = fmt::format("{}={}", fmt::join(numbers, ","), solution.value);
  prompt.text = fmt::format(
      "Find an expression that equals {}. It must use each of the numbers {} exactly once, and "
      "only the operations + - * / and parentheses.",
      solution.value, fmt::join(numbers, ", "));
  // The outermost parentheses say nothing.
  prompt.answer = solution.text.substr(1, solution.text.size() - 2);
  prompt.columns["nums"] = numbers;
  prompt.columns["target"] = solution.value;
  return prompt;
}

}  // namespace ponder::data

#include <array>
#include <cstdlib>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "data/tasks/makers.h"

namespace ponder::data {
namespace {

constexpr std::array<const char*, 4> kNames = {"x", "y", "z", "w"};
using Rows = std::vector<std::vector<int64_t>>;

// Bareiss' elimination without fractions; 4 x 4 with coefficients up to 999 fits by far.
bool is_singular(Rows rows) {
  const size_t n = rows.size();
  int64_t previous = 1;
  for (size_t k = 0; k < n; ++k) {
    size_t pivot = k;
    while (pivot < n && rows[pivot][k] == 0) ++pivot;
    if (pivot == n) return true;
    std::swap(rows[k], rows[pivot]);
    for (size_t i = k + 1; i < n; ++i) {
      for (size_t j = k + 1; j < n; ++j)
        rows[i][j] = (rows[i][j] * rows[k][k] - rows[i][k] * rows[k][j]) / previous;
    }
    previous = rows[k][k];
  }
  return false;
}

// "2*x - y = 5"; terms with coefficient 0 are left out.
std::string equation_text(const std::vector<int64_t>& row, int64_t right) {
  std::string text;
  for (size_t i = 0; i < row.size(); ++i) {
    if (row[i] == 0) continue;
    const std::string factor = std::abs(row[i]) == 1 ? "" : fmt::format("{}*", std::abs(row[i]));
    const char* sign = text.empty() ? (row[i] < 0 ? "-" : "") : (row[i] < 0 ? " - " : " + ");
    text += fmt::format("{}{}{}", sign, factor, kNames[i]);
  }
  return fmt::format("{} = {}", text, right);
}

}  // namespace

std::optional<Prompt> make_linear_equations(core::Rng& rng, const LinearEquationOptions& options) {
  const int64_t n = rng.integer(options.min_unknowns, options.max_unknowns);
  Rows rows(n, std::vector<int64_t>(n));
  for (auto& row : rows) {
    for (int64_t& entry : row)
      entry = rng.integer(-options.max_coefficient, options.max_coefficient);
  }
  if (is_singular(rows)) return std::nullopt;
  std::vector<int64_t> solution(n);
  for (int64_t& value : solution) value = rng.integer(-options.max_solution, options.max_solution);
  std::vector<std::string> equations;
  for (const auto& row : rows) {
    int64_t right = 0;
    for (int64_t i = 0; i < n; ++i) right += row[i] * solution[i];
    equations.push_back(equation_text(row, right));
  }
  const std::vector<std::string> names(kNames.begin(), kNames.begin() + n);
  Prompt prompt;
  prompt.id = fmt::format("{}", fmt::join(equations, "; "));
  prompt.text = fmt::format("Solve for {}: {}.", listed(names), fmt::join(equations, ", "));
  if (n > 1) prompt.text += fmt::format(" Give the solution as ({}).", fmt::join(names, ", "));
  prompt.answer =
      n == 1 ? std::to_string(solution[0]) : fmt::format("({})", fmt::join(solution, ", "));
  return prompt;
}

}  // namespace ponder::data

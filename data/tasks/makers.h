// How each task makes one problem; tasks.h holds the options and the table that joins them. A maker
// draws from `rng` alone, once: none where this draw gave no problem, and the caller tries again.
#pragma once

#include <optional>

#include "core/random.h"
#include "data/tasks.h"

namespace ponder::data {

std::optional<Prompt> make_arithmetic(core::Rng& rng, const ArithmeticOptions& options);
std::optional<Prompt> make_countdown(core::Rng& rng, const CountdownOptions& options);
std::optional<Prompt> make_linear_equations(core::Rng& rng, const LinearEquationOptions& options);
std::optional<Prompt> make_logic(core::Rng& rng, const LogicOptions& options);

// "a", "a and b", "a, b and c".
std::string listed(const std::vector<std::string>& items);

}  // namespace ponder::data

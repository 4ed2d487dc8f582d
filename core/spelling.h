// The nearest name to a mistyped one, for error messages ("unknown key 'epsilom', did you mean
// 'epsilon'?").
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ponder::core {

// Optimal string alignment distance in bytes: insertion, deletion, substitution and the swap of two
// neighbours cost 1. O(|a| |b|) time and memory.
int edit_distance(std::string_view a, std::string_view b);

// The candidate nearest to `name`, or "" where none is within a third of its length (at least 1, at
// most 4). Case and '-' against '_' count as equal. Of several equally near the first wins.
std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates);

// ", did you mean 'X'?" or, where nothing is near, " (known: a, b, c)". Meant to follow the
// mistyped name.
std::string suggestion(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace ponder::core

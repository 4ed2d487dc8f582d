// Checks of option values, with messages that fit on a line.
#pragma once

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <limits>
#include <string>

#include <fmt/format.h>

namespace ponder::cli {

// An integer from `low` to `high`.
inline CLI::Validator whole(int64_t low, int64_t high = std::numeric_limits<int32_t>::max()) {
  return CLI::Validator(
      [low, high](std::string& text) -> std::string {
        int64_t value = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        const bool fits = error == std::errc() && end == text.data() + text.size() &&
                          value >= low && value <= high;
        return fits ? ""
                    : fmt::format("expected a whole number from {} to {}, found '{}'", low, high,
                                  text);
      },
      "");
}

// A finite number from `low` to `high`.
inline CLI::Validator number(double low, double high) {
  return CLI::Validator(
      [low, high](std::string& text) -> std::string {
        char* end = nullptr;
        const double value = std::strtod(text.c_str(), &end);
        const bool fits = !text.empty() && *end == '\0' && value >= low && value <= high;
        return fits ? ""
                    : fmt::format("expected a number from {} to {}, found '{}'", low, high, text);
      },
      "");
}

// Any text but an empty one.
inline CLI::Validator not_empty() {
  return CLI::Validator(
      [](std::string& text) -> std::string {
        return text.empty() ? "expected a path, found nothing" : "";
      },
      "");
}

}  // namespace ponder::cli

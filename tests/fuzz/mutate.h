// Mutations of valid inputs with a fixed seed, for the tests that replay fuzz targets.
#pragma once

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace ponder::fuzz {

// A list in a list, `depth` times.
inline std::string nested_lists(size_t depth) {
  return std::string(depth, '[') + std::string(depth, ']');
}

// `seed` with one to four places changed: bytes flipped, cut out, doubled, set to a chosen text, or
// the end cut off.
inline std::string mutate(const std::string& seed, std::mt19937_64& random,
                          const std::vector<std::string>& dictionary) {
  std::string text = seed;
  const auto below = [&](size_t bound) { return bound == 0 ? 0 : random() % bound; };
  const size_t changes = 1 + below(4);
  for (size_t i = 0; i < changes && !text.empty(); ++i) {
    const size_t at = below(text.size());
    const size_t length = std::min(text.size() - at, 1 + below(20));
    switch (below(6)) {
      case 0:
        text[at] = static_cast<char>(random());
        break;
      case 1:
        text.erase(at, length);
        break;
      case 2:
        text.insert(at, text.substr(at, length));
        break;
      case 3:
        text.replace(at, length, dictionary[below(dictionary.size())]);
        break;
      case 4:
        text.insert(at, dictionary[below(dictionary.size())]);
        break;
      default:
        if (below(4) == 0) text.resize(at);
        break;
    }
  }
  return text;
}

}  // namespace ponder::fuzz

#include <array>
#include <bit>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "data/tasks/makers.h"

namespace ponder::data {
namespace {

constexpr std::array<const char*, 8> kPeople = {"Ada",   "Ben",  "Cleo", "Dan",
                                                "Edith", "Finn", "Gus",  "Hana"};

enum class Claim { kIsKnight, kIsKnave, kSameKind, kDifferentKind, kExactly, kIfThen };

// What one person says of others; bit i of an assignment is set where person i is a knight.
struct Statement {
  Claim claim;
  int first = 0, second = 0;  // people; for kExactly `first` is a number of knights

  bool holds(unsigned assignment) const {
    const bool a = (assignment >> first & 1) != 0, b = (assignment >> second & 1) != 0;
    switch (claim) {
      case Claim::kIsKnight:
        return a;
      case Claim::kIsKnave:
        return !a;
      case Claim::kSameKind:
        return a == b;
      case Claim::kDifferentKind:
        return a != b;
      case Claim::kExactly:
        return std::popcount(assignment) == first;
      case Claim::kIfThen:
        return !a || b;
    }
    return false;
  }

  std::string text() const {
    const char* a = kPeople[first];
    const char* b = kPeople[second];
    switch (claim) {
      case Claim::kIsKnight:
        return fmt::format("{} is a knight.", a);
      case Claim::kIsKnave:
        return fmt::format("{} is a knave.", a);
      case Claim::kSameKind:
        return fmt::format("{} and {} are of the same kind.", a, b);
      case Claim::kDifferentKind:
        return fmt::format("{} and {} are of different kinds.", a, b);
      case Claim::kExactly:
        return fmt::format("Exactly {} of us {}.", first,
                           first == 1 ? "is a knight" : "are knights");
      case Claim::kIfThen:
        return fmt::format("If {} is a knight, then {} is a knight too.", a, b);
    }
    return {};
  }
};

Statement draw_statement(core::Rng& rng, int speaker, int people) {
  const auto other = [&](int than) {
    int person = static_cast<int>(rng.integer(0, people - 2));
    return person >= than ? person + 1 : person;
  };
  Statement out{static_cast<Claim>(rng.integer(0, 5))};
  if (out.claim == Claim::kExactly) {
    out.first = static_cast<int>(rng.integer(0, people));
    return out;
  }
  out.first = other(speaker);  // nobody says of himself alone what he is
  out.second = other(out.first);
  return out;
}

// The one assignment in which knights alone speak the truth; none where there are none or several.
std::optional<unsigned> only_assignment(const std::vector<Statement>& statements) {
  std::optional<unsigned> found;
  for (unsigned assignment = 0; assignment < 1u << statements.size(); ++assignment) {
    bool fits = true;
    for (size_t i = 0; i < statements.size() && fits; ++i)
      fits = statements[i].holds(assignment) == ((assignment >> i & 1) != 0);
    if (!fits) continue;
    if (found) return std::nullopt;
    found = assignment;
  }
  return found;
}

}  // namespace

std::optional<Prompt> make_logic(core::Rng& rng, const LogicOptions& options) {
  const int people = static_cast<int>(rng.integer(options.min_people, options.max_people));
  std::vector<Statement> statements;
  for (int i = 0; i < people; ++i) statements.push_back(draw_statement(rng, i, people));
  const auto assignment = only_assignment(statements);
  if (!assignment) return std::nullopt;
  std::vector<std::string> names, kinds, said;
  for (int i = 0; i < people; ++i) {
    names.emplace_back(kPeople[i]);
    kinds.emplace_back((*assignment >> i & 1) != 0 ? "knight" : "knave");
    said.push_back(fmt::format("{} says: \"{}\"", kPeople[i], statements[i].text()));
  }
  Prompt prompt;
  prompt.id = fmt::format("{}", fmt::join(said, " "));
  prompt.text = fmt::format(
      "On an island every inhabitant is a knight, who always tells the truth, or a knave, who "
      "always lies. You meet {}. {} Who is what? Answer with the word knight or knave for each, in "
      "the order in which they were named, separated by commas.",
      listed(names), prompt.id);
  prompt.answer = fmt::format("{}", fmt::join(kinds, ", "));
  return prompt;
}

}  // namespace ponder::data

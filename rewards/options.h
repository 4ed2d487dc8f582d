// A reward's options: "NAME{max_length = 2048}" read into a plain struct through core's Binder, so
// that unknown keys, wrong types and ranges are refused as in a recipe. A recipe needs no table for
// each reward: the options stand with the name, the same in reward_funcs and on the command line.
#pragma once

#include <string>

#include "core/recipe.h"

namespace ponder::rewards {

// "NAME{options}" taken apart; `options` is "{}" where there are none.
struct RewardSpec {
  std::string name, options;
};
RewardSpec parse_spec(const std::string& spec);

template <typename Options>
struct OptionTable {
  Options options;
};
template <typename Options>
void bind(core::Binder& b, OptionTable<Options>& table) {
  b.table("options", table.options);
}

// Throws UserError that names reward, place and key.
template <typename Options>
Options read_options(const RewardSpec& spec) {
  OptionTable<Options> table;
  core::Recipe::from_text("options = " + spec.options, "reward " + spec.name).read(table);
  return table.options;
}

struct NoOptions {};
inline void bind(core::Binder&, NoOptions&) {}

}  // namespace ponder::rewards

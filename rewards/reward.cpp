#include "rewards/reward.h"

#include <utility>

#include "core/spelling.h"
#include "rewards/math_reward.h"
#include "rewards/r1.h"

namespace ponder::rewards {
namespace {

using Maker = std::unique_ptr<Reward> (*)();

const std::vector<std::pair<std::string, Maker>>& table() {
  static const std::vector<std::pair<std::string, Maker>> makers = {
      {"accuracy", [] { return std::unique_ptr<Reward>(std::make_unique<AnswerTagAccuracy>()); }},
      {"format", [] { return std::unique_ptr<Reward>(std::make_unique<ThinkAnswerFormat>()); }},
      {"math", [] { return std::unique_ptr<Reward>(std::make_unique<MathReward>()); }},
  };
  return makers;
}

}  // namespace

std::vector<std::string> reward_names() {
  std::vector<std::string> names;
  for (const auto& [name, maker] : table()) names.push_back(name);
  return names;
}

std::unique_ptr<Reward> make_reward(const std::string& name) {
  for (const auto& [known, maker] : table()) {
    if (known == name) return maker();
  }
  core::throw_user("unknown reward '{}'{}", name, core::suggestion(name, reward_names()));
}

}  // namespace ponder::rewards

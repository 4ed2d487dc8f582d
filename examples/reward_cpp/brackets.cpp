// A reward in C++: 1 where every bracket of the completion is closed in order, a share of it where
// not. It ignores the reference, so it suits any prompt.
#include <cstdio>
#include <string>
#include <string_view>

#include "rewards/reward_plugin.h"

namespace {

constexpr std::string_view kOpen = "([{", kClose = ")]}";

// The share of brackets that are closed in order; 1 where there are none.
double closed_share(std::string_view text) {
  std::string open;
  size_t brackets = 0, closed = 0;
  for (const char c : text) {
    if (kOpen.find(c) != std::string_view::npos) {
      open += c;
      ++brackets;
    } else if (const size_t kind = kClose.find(c); kind != std::string_view::npos) {
      ++brackets;
      if (open.empty() || open.back() != kOpen[kind]) continue;
      open.pop_back();
      closed += 2;
    }
  }
  return brackets == 0 ? 1.0 : static_cast<double>(closed) / static_cast<double>(brackets);
}

}  // namespace

extern "C" uint32_t ponder_reward_abi_version() {
  return PONDER_REWARD_ABI_VERSION;
}

extern "C" int32_t ponder_reward_score(const ponder_reward_record* records, size_t count,
                                       ponder_reward_result* results) {
  for (size_t i = 0; i < count; ++i) {
    const double share = closed_share({records[i].completion.data, records[i].completion.size});
    results[i].reward = share;
    results[i].status = share == 1.0 ? PONDER_REWARD_OK : PONDER_REWARD_WRONG;
    std::snprintf(results[i].reason, sizeof results[i].reason, "%.0f%% of the brackets are closed",
                  share * 100);
  }
  return 0;
}

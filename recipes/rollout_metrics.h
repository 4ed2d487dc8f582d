// What a rollout looked like, as metrics: lengths, ends and verdicts. Rewards' means are
// grpo::compute_advantages'.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "data/types.h"

namespace ponder::recipes {

// completions/{mean,min,max}_length and _terminated_length (tokens; terminated: ended by the
// policy), clipped_ratio (cut ones' share), total_length; rewards/status/{ok,wrong,...}: each
// verdict's share. TRL's names where it has them.
std::map<std::string, double> rollout_metrics(const std::vector<data::ScoredGroup>& groups);

}  // namespace ponder::recipes

// What the rewards of a rollout say about themselves, as metrics.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "data/types.h"
#include "rewards/scorer.h"

namespace ponder::recipes {

// hacks/* (rewards/hacks.h) of these groups, and the rewards' own counters since the start:
// timing_s/rewards/NAME (seconds) and perf/rewards/NAME/* (calls, restarts, time-outs ...), which
// depend on how completions fell into batches and so on the machine.
std::map<std::string, double> scoring_metrics(const std::vector<data::ScoredGroup>& groups,
                                              const rewards::Scorer& scorer);

// Threads that score while the sampler works: they mostly wait for sandboxes, plugins and servers.
int scoring_threads();

}  // namespace ponder::recipes

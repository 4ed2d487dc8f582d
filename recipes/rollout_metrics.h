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
// verdict's share; pass@k for k = 1, 2, 4, ... up to the group's size, where a completion passes
// with full marks (status ok). TRL's names where it has them. Where `domain_column` names a column
// of the prompts, domain/{value}/{reward,pass@1,mean_length,share} too.
std::map<std::string, double> rollout_metrics(const std::vector<data::ScoredGroup>& groups,
                                              const std::string& domain_column);

// The chance that at least one of k completions drawn from n without replacement passes, c of them
// passing: 1 - C(n-c, k) / C(n, k), "Evaluating large language models trained on code"
// (arXiv:2107.03374) eq. 1. REQUIRES: 0 <= c <= n, 1 <= k <= n.
double pass_at_k(int64_t n, int64_t c, int64_t k);

// How many updates behind `policy_version` the policies are that sampled, over all tokens:
// staleness/{mean,max}.
std::map<std::string, double> staleness(const std::vector<data::ScoredGroup>& groups,
                                        int64_t policy_version);

}  // namespace ponder::recipes

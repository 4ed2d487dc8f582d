// How a stage's work is shared among a run's workers and put together again: groups of a rollout,
// sequences of an update, metrics of a step. Each worker ends with the whole, the same on all.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "data/types.h"
#include "distributed/group.h"
#include "grpo/batch.h"
#include "recipes/stage.h"

namespace ponder::recipes {

// Workers that may run on the same cores of one machine divide them: sets the number of threads,
// unless OMP_NUM_THREADS says it.
void share_cores(distributed::Group& group);

// This worker's places among `count` pieces of work: every size()-th.
std::vector<size_t> own_places(const distributed::Group& group, size_t count);

// Groups of all workers in order of their places. `own` are those at own_places(group, count);
// prompts do not travel: prompt_of(place) gives them back. One worker: `own` itself.
std::vector<data::ScoredGroup> gather_groups(
    distributed::Group& group, std::vector<data::ScoredGroup> own, size_t count,
    const std::function<const data::Prompt&(size_t place)>& prompt_of);

// This worker's sequences of `batch`, its tokens balanced over the workers; maybe none. One worker:
// the batch.
grpo::TrainBatch own_share(const distributed::Group& group, const grpo::TrainBatch& batch);

// A value a token of the whole batch, float32 [tokens]: each worker computes those of its share,
// compute(share) -> [tokens of it].
at::Tensor gather_tokens(distributed::Group& group, const grpo::TrainBatch& batch,
                         const std::function<at::Tensor(const grpo::TrainBatch& share)>& compute);

// Every worker's JSON by rank; numbers come as they are, NaN and the infinities too.
std::vector<data::Json> gather_json(distributed::Group& group, const data::Json& own,
                                    std::string_view what);

// What depends on the machine, of all workers: timing_s/NAME becomes the mean, timing_s/min/NAME
// and timing_s/max/NAME stand beside it; counts of perf/rewards/* are added, of perf/memory* the
// greatest counts, of the rest of perf/* the mean. Everything else is the same on all and stays.
// One worker: `own` itself.
Metrics reduce_metrics(distributed::Group& group, const Metrics& own);

// perf/communication_s (waited for), perf/communication_under_way_s and perf/communication_bytes
// since `before`, and brings `before` up to now. None of one worker.
Metrics traffic_metrics(const distributed::Group& group, distributed::Traffic& before);

}  // namespace ponder::recipes

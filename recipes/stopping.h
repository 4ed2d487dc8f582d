// A stop signal in the middle of a step: sampling is cut off at the engine's next pass, on all
// workers or on none.
#pragma once

#include <optional>
#include <vector>

#include "data/types.h"
#include "distributed/group.h"
#include "rollout/engine.h"

namespace ponder::recipes {

// The stop signal that some worker has got, the greatest; 0: none has. All workers call it, and get
// the same answer.
int agreed_stop(distributed::Group& group);

// Engine::generate(), but none where this process gets a stop signal (core/stop.h) before the last
// pass; the engine is then empty, and on_completion was called for what had ended.
std::optional<std::vector<data::Group>> generate_unless_stopped(
    rollout::Engine& engine, std::vector<rollout::Request> requests,
    const rollout::OnCompletion& on_completion);

}  // namespace ponder::recipes

// The records that flow, as JSON: what a checkpoint holds of a rollout that is not trained yet.
// Token ids and log-probs are left out: they are large, and tensors beside the JSON hold them.
#pragma once

#include "data/types.h"

namespace ponder::data {

// Throws nlohmann::json's exceptions for JSON that to_json() did not make. Completions come back
// without tokens and log-probs.
Json to_json(const ScoredGroup& group);
ScoredGroup scored_group_from(const Json& json);

}  // namespace ponder::data

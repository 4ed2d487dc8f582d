// The records that flow, as JSON: what a checkpoint holds of a rollout that is not trained yet.
// What has a value a token is left out: it is large, and tensors beside the JSON hold it.
#pragma once

#include "data/types.h"

namespace ponder::data {

// Throws nlohmann::json's exceptions for JSON that to_json() did not make. Completions come back
// without tokens, log-probs and versions.
Json to_json(const ScoredGroup& group);
ScoredGroup scored_group_from(const Json& json);

}  // namespace ponder::data

// Rollouts that are not trained yet, as files of a checkpoint: NAME.json (prompts, texts, scores
// and what else a rollout knows) and NAME.safetensors (tokens, log-probs, versions, exactly).
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "recipes/grpo_rollout.h"

namespace ponder::recipes {

// pending.*: a rollout that was sampled and scored while the step before trained.
void save_pending(const std::filesystem::path& checkpoint, const Rollout& rollout);
// None where the checkpoint holds none. Throws UserError for damaged files.
std::optional<Rollout> load_pending(const std::filesystem::path& checkpoint);

// paused.*: groups of which a completion goes on in the next step.
void save_paused(const std::filesystem::path& checkpoint, const std::vector<OpenGroup>& groups);
// Empty where the checkpoint holds none. Throws UserError for damaged files.
std::vector<OpenGroup> load_paused(const std::filesystem::path& checkpoint);

}  // namespace ponder::recipes

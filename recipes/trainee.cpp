#include "recipes/trainee.h"

#include <utility>

#include "policy/hf_folder.h"
#include "policy/peft_folder.h"
#include "recipes/evaluate.h"
#include "recipes/reward_model.h"

namespace ponder::recipes {

TrainedModel load_trained_model(const std::filesystem::path& folder, const TrainingOptions& options,
                                bool freeze_router, uint64_t seed) {
  TrainedModel out{.model = policy::Model::load(folder, options.bf16 ? at::kBFloat16 : at::kFloat,
                                                device_of(options.device)),
                   .trained = {}};
  out.model.set_gradient_checkpointing(options.gradient_checkpointing);
  if (options.lora.use_peft) {
    out.trained = policy::add_lora(out.model, options.lora, seed);
    return out;
  }
  for (const policy::Parameter& p : out.model.parameters()) {
    if (freeze_router && p.name.ends_with("mlp.gate.weight")) {
      at::Tensor(p.tensor).requires_grad_(false);
    } else {
      out.trained.push_back(p);
    }
  }
  return out;
}

Trainee::Trainee(policy::Model its_model, const std::vector<policy::Parameter>& trained,
                 const std::filesystem::path& its_folder, const rewards::RewardOptions& reward,
                 const policy::OptimizerOptions& optimizer_options, distributed::Group& its_group,
                 const rollout::EngineOptions& engine_options)
    : folder(its_folder),
      group(its_group),
      model(std::move(its_model)),
      tokenizer(policy::Tokenizer::from_folder(its_folder)),
      scorer(reward, load_reward_model),
      engine(model, tokenizer, engine_options),
      optimizer(trained, optimizer_options, &group) {
  policy::check_tokenizer_fits(tokenizer, model.config(), folder);
  policy::check_can_end(model.config(), folder);
}

std::optional<Metrics> Trainee::evaluate(const EvalOptions& options, int64_t seed, int64_t step,
                                         const std::filesystem::path& file, const Say& say,
                                         const std::vector<std::string>& stop_strings) {
  if (held_out.empty()) return Metrics();
  say("evaluating");
  group.doing("evaluating");
  return evaluate_both(engine, scorer, held_out,
                       {.max_completion_length = options.max_completion_length,
                        .seed = static_cast<uint64_t>(seed),
                        .stop = stop_strings,
                        .include_stop_str_in_output = !stop_strings.empty()},
                       step, file, group);
}

WriteCheckpoint Trainee::checkpoint(at::ScalarType dtype, policy::NamedTensors extra,
                                    data::Json values) const {
  return [this, dtype, extra = std::move(extra), optimizer_state = optimizer.whole_state(),
          values = std::move(values)](const std::filesystem::path& checkpoint) {
    policy::save_hf_folder(model, dtype, folder, checkpoint);
    if (!model.adapters().empty()) {
      std::filesystem::create_directory(checkpoint / "adapter");
      policy::save_lora(model, folder, checkpoint / "adapter");
    }
    policy::NamedTensors tensors = trained_tensors(model, optimizer_state);
    tensors.insert(tensors.end(), extra.begin(), extra.end());
    save_trainer_state(checkpoint, tensors, values, group.size());
  };
}

void Trainee::restore(const std::filesystem::path& checkpoint, const policy::NamedTensors& extra,
                      const std::function<void(const data::Json&)>& read) {
  policy::NamedTensors tensors = trained_tensors(model, optimizer.state());
  tensors.insert(tensors.end(), extra.begin(), extra.end());
  restore_trainer_state(checkpoint, tensors, group.size(), read);
  policy::refresh_lora(model);
}

}  // namespace ponder::recipes

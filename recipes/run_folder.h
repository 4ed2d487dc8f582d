// A run's folder: who made it, how far it got, where its parts lie (docs/ARCHITECTURE.md draws it).
// Knows names of files, not what a stage puts into them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace ponder::recipes {

class RunFolder {
 public:
  // Makes the folder, or opens one that the same recipe made. Throws UserError: the folder belongs
  // to another recipe (the first key that differs is named), it is no run folder and not empty, or
  // another process works in it. `recipe_text` is the resolved recipe; the folder keeps it as
  // recipe.toml.
  RunFolder(const std::filesystem::path& dir, const std::string& recipe_text);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  const std::filesystem::path& dir() const { return dir_; }
  std::filesystem::path completions_file(int64_t step) const;
  std::filesystem::path evaluation_file(int64_t step) const;
  std::filesystem::path checkpoint(int64_t step) const { return checkpoint(dir_, step); }
  // The same of a folder that another process has open.
  static std::filesystem::path checkpoint(const std::filesystem::path& dir, int64_t step);

  // The step of checkpoints/latest; without that link the newest checkpoint's (the run was killed
  // before it could set it); 0 where there is no checkpoint. Throws UserError where `latest` is
  // anything else than a link to a checkpoint.
  int64_t latest_step() const;

  // Writes checkpoints/STEP through `fill(folder)`: aside first, synced, renamed, then `latest` is
  // switched; then, where `best` is not 0, `best` becomes a link to that step's checkpoint (this
  // one or an earlier one), and all but the newest `keep` and the best are removed. Where `fill`
  // throws, nothing of it stays and `latest` is as before.
  void save_checkpoint(int64_t step, int64_t keep, int64_t best,
                       const std::function<void(const std::filesystem::path&)>& fill);

  // Removes what was written after `step`: completions, evaluations and checkpoints of later steps,
  // and half-made checkpoints. (metrics.jsonl is core::MetricsLog's.)
  void forget_after(int64_t step);

 private:
  void switch_link(const char* name, int64_t step) const;
  void lock();
  void check_recipe(const std::string& recipe_text);

  std::filesystem::path dir_;
  int lock_fd_ = -1;
};

}  // namespace ponder::recipes

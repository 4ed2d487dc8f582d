#include "recipes/run_folder.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include "core/error.h"
#include "core/file.h"
#include "core/recipe.h"

namespace ponder::recipes {
namespace {

namespace fs = std::filesystem;

// "000010.jsonl" with suffix ".jsonl" or "10" with "" -> 10; none for any other name.
std::optional<int64_t> step_of(const fs::path& path, std::string_view suffix) {
  const std::string name = path.filename().string();
  if (name.size() <= suffix.size() || !name.ends_with(suffix)) return std::nullopt;
  const char *begin = name.data(), *end = begin + name.size() - suffix.size();
  int64_t step = 0;
  const auto [stop, error] = std::from_chars(begin, end, step);
  if (error != std::errc() || stop != end || step < 0) return std::nullopt;
  return step;
}

std::vector<fs::path> entries(const fs::path& dir) {
  std::vector<fs::path> out;
  if (!fs::is_directory(dir)) return out;
  for (const auto& entry : fs::directory_iterator(dir)) out.push_back(entry.path());
  std::sort(out.begin(), out.end());
  return out;
}

// The steps of the complete checkpoints, ascending: a folder has its name only when it is complete.
std::vector<int64_t> checkpoint_steps(const fs::path& checkpoints) {
  std::vector<int64_t> steps;
  for (const fs::path& path : entries(checkpoints)) {
    const auto step = step_of(path, "");
    if (step && path.filename() == std::to_string(*step)) steps.push_back(*step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

// True where the folder holds nothing but what a run that was killed at its very start leaves.
bool is_unused(const fs::path& dir) {
  for (const fs::path& path : entries(dir)) {
    const std::string name = path.filename().string();
    if (name != ".lock" && name != "recipe.toml.part") return false;
  }
  return true;
}

// The first key whose value differs, with both values.
std::string first_difference(const fs::path& dir, const std::string& here) {
  const fs::path path = dir / "recipe.toml";
  const auto old_keys = core::flatten_recipe(core::read_file(path, "run's recipe"), path.string()),
             new_keys = core::flatten_recipe(here, "recipe");
  std::map<std::string, std::pair<std::string, std::string>> both;
  for (const auto& [key, value] : old_keys) both[key].first = value;
  for (const auto& [key, value] : new_keys) both[key].second = value;
  for (const auto& [key, values] : both) {
    const auto shown = [](const std::string& value) { return value.empty() ? "unset" : value; };
    if (values.first != values.second) {
      return fmt::format("{} is {} there and {} here", key, shown(values.first),
                         shown(values.second));
    }
  }
  return "";
}

void make_folder(const fs::path& dir) {
  std::error_code error;
  fs::create_directories(dir, error);
  if (error) core::throw_user("cannot make the folder {}: {}", dir.string(), error.message());
}

}  // namespace

RunFolder::RunFolder(const fs::path& dir, const std::string& recipe_text) : dir_(dir) {
  const bool ours = fs::exists(dir_ / "recipe.toml");
  if (fs::exists(dir_) && !fs::is_directory(dir_)) {
    core::throw_user("{} is a file, expected a run's folder: choose another with --run",
                     dir_.string());
  }
  if (!ours && !is_unused(dir_)) {
    core::throw_user(
        "the folder {} is not empty and no run's folder (it has no recipe.toml): choose another "
        "with --run",
        dir_.string());
  }
  make_folder(dir_);
  lock();
  if (ours) {
    check_recipe(recipe_text);
  } else {
    core::write_file_atomic(dir_ / "recipe.toml", recipe_text);
  }
  for (const char* part : {"completions", "evaluations", "checkpoints"}) make_folder(dir_ / part);
}

RunFolder::~RunFolder() {
  if (lock_fd_ >= 0) ::close(lock_fd_);
}

// The kernel lets go of the lock when the process ends, however it ends.
void RunFolder::lock() {
  const fs::path path = dir_ / ".lock";
  lock_fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (lock_fd_ < 0) core::throw_user("cannot open {}: is the folder writable?", path.string());
  if (::flock(lock_fd_, LOCK_EX | LOCK_NB) == 0) return;
  ::close(std::exchange(lock_fd_, -1));
  core::throw_user(
      "another process is working in {}: wait for it, or choose another folder with --run",
      dir_.string());
}

void RunFolder::check_recipe(const std::string& recipe_text) {
  const std::string difference = first_difference(dir_, recipe_text);
  if (difference.empty()) return;
  core::throw_user(
      "{} was made by another recipe: {}; choose another folder with --run, or remove this one",
      dir_.string(), difference);
}

fs::path RunFolder::completions_file(int64_t step) const {
  return dir_ / "completions" / fmt::format("{:06}.jsonl", step);
}

fs::path RunFolder::evaluation_file(int64_t step) const {
  return dir_ / "evaluations" / fmt::format("{:06}.jsonl", step);
}

fs::path RunFolder::checkpoint(const fs::path& dir, int64_t step) {
  return dir / "checkpoints" / std::to_string(step);
}

int64_t RunFolder::latest_step() const {
  const fs::path latest = dir_ / "checkpoints" / "latest";
  const std::vector<int64_t> steps = checkpoint_steps(dir_ / "checkpoints");
  if (!fs::exists(fs::symlink_status(latest))) return steps.empty() ? 0 : steps.back();
  if (!fs::is_symlink(latest)) {
    core::throw_user(
        "{} is no link, expected one to a checkpoint (a copy that followed links?): remove it, the "
        "newest checkpoint beside it is taken then",
        latest.string());
  }
  const fs::path target = fs::read_symlink(latest);
  const auto step = step_of(target, "");
  if (!step || !std::binary_search(steps.begin(), steps.end(), *step)) {
    core::throw_user(
        "{} points to {}, which is no checkpoint: remove the link, the newest checkpoint beside it "
        "is taken then",
        latest.string(), target.string());
  }
  return *step;
}

// checkpoints/NAME -> STEP, atomically.
void RunFolder::switch_link(const char* name, int64_t step) const {
  const fs::path link = dir_ / "checkpoints" / fmt::format("{}.part", name);
  fs::remove(link);
  fs::create_symlink(std::to_string(step), link);
  fs::rename(link, dir_ / "checkpoints" / name);
}

void RunFolder::save_checkpoint(int64_t step, int64_t keep, int64_t best,
                                const std::function<void(const fs::path&)>& fill) {
  const fs::path checkpoints = dir_ / "checkpoints",
                 aside = checkpoints / fmt::format("{}.part", step);
  fs::remove_all(aside);
  try {
    fs::create_directory(aside);
    fill(aside);
    core::sync_directory(aside);
    fs::remove_all(checkpoint(step));
    fs::rename(aside, checkpoint(step));
  } catch (...) {
    std::error_code ignored;  // the failure itself is what the caller must see
    fs::remove_all(aside, ignored);
    throw;
  }
  switch_link("latest", step);
  if (best > 0) switch_link("best", best);
  core::sync_directory(checkpoints);
  std::vector<int64_t> steps = checkpoint_steps(checkpoints);
  std::erase_if(steps, [step](int64_t other) { return other > step; });
  for (size_t i = 0; i + static_cast<size_t>(keep) < steps.size(); ++i) {
    if (steps[i] != best) fs::remove_all(checkpoint(steps[i]));
  }
}

void RunFolder::forget_after(int64_t step) {
  for (const char* part : {"completions", "evaluations"}) {
    for (const fs::path& path : entries(dir_ / part)) {
      const auto found = step_of(path, ".jsonl");
      if (found && *found > step) fs::remove_all(path);
    }
  }
  for (const fs::path& path : entries(dir_ / "checkpoints")) {
    const bool half_made = step_of(path, ".part") || path.filename() == "latest.part" ||
                           path.filename() == "best.part";
    const auto found = step_of(path, "");
    if (half_made || (found && *found > step)) fs::remove_all(path);
  }
}

}  // namespace ponder::recipes

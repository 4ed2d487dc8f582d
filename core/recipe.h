// Recipes: TOML files bound to plain option structs. Each struct has one function `bind(Binder&,
// Options&)` that names its keys once; the same function reads a recipe, writes the resolved one
// and finds unknown keys.
//
//   struct AdamOptions { double learning_rate = 1e-6; };
//   void bind(core::Binder& b, AdamOptions& o) { b.field("learning_rate", o.learning_rate, "peak
//   step size", {.low = 0}); }
//
// Precedence: in-class defaults < the file < key=value words of the command line. Knows nothing of
// what the keys mean.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ponder::core {

// The closed interval that a number must lie in.
struct Range {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
};

// What a bind() function talks to. Keys are TOML keys of the current table; `doc` is one short
// line.
class Binder {
 public:
  virtual ~Binder() = default;
  virtual void field(const char* key, bool& value, const char* doc) = 0;
  virtual void field(const char* key, int64_t& value, const char* doc, Range range = {}) = 0;
  virtual void field(const char* key, double& value, const char* doc, Range range = {}) = 0;
  virtual void field(const char* key, std::optional<double>& value, const char* doc,
                     Range range = {}) = 0;
  virtual void field(const char* key, std::string& value, const char* doc) = 0;
  virtual void field(const char* key, std::vector<std::string>& value, const char* doc) = 0;
  virtual void field(const char* key, std::vector<double>& value, const char* doc) = 0;

  // An enum (or any value) chosen by name from `names`.
  template <typename T>
  void choice(const char* key, T& value, const std::vector<std::pair<std::string, T>>& names,
              const char* doc) {
    std::vector<std::string> known;
    std::string name;
    for (const auto& [candidate, meaning] : names) {
      known.push_back(candidate);
      if (meaning == value) name = candidate;
    }
    name_field(key, name, known, doc);
    for (const auto& [candidate, meaning] : names) {
      if (candidate == name) value = meaning;
    }
  }

  // A sub-table whose options have their own bind(). Found by argument-dependent lookup.
  template <typename Options>
  void table(const char* key, Options& options) {
    enter(key);
    bind(*this, options);
    leave();
  }

 protected:
  virtual void name_field(const char* key, std::string& name, const std::vector<std::string>& known,
                          const char* doc) = 0;
  virtual void enter(const char* key) = 0;
  virtual void leave() = 0;
};

// A parsed recipe with the place of every value.
class Recipe {
 public:
  // Throws UserError: file missing, TOML syntax (with file:line:column), a malformed override.
  static Recipe from_file(const std::filesystem::path& path,
                          const std::vector<std::string>& overrides = {});
  static Recipe from_text(std::string_view text, std::string_view name,
                          const std::vector<std::string>& overrides = {});
  ~Recipe();
  Recipe(Recipe&&) noexcept;
  Recipe& operator=(Recipe&&) noexcept;

  // The string under the top-level `key`, or "" where it is absent. Throws UserError where it is no
  // string.
  std::string peek(std::string_view key) const;

  // Reads the recipe into `options`. All problems (unknown key with the nearest name, wrong type,
  // value out of range) are reported in one UserError, one line each: "file:line:column: key:
  // expected ..., found ...".
  template <typename Options>
  void read(Options& options) const {
    const std::unique_ptr<Binder> binder = reader();
    bind(*binder, options);
    finish(*binder);
  }

 private:
  struct Impl;
  explicit Recipe(std::unique_ptr<Impl> impl);
  std::unique_ptr<Binder> reader() const;
  void finish(Binder& binder) const;

  std::unique_ptr<Impl> impl_;
};

// Collects what bind() names: the resolved recipe as TOML text, every default written out, docs as
// comments.
class RecipeWriter {
 public:
  template <typename Options>
  static std::string text_of(Options options) {
    RecipeWriter writer;
    bind(writer.binder(), options);
    return writer.text();
  }

 private:
  RecipeWriter();
  Binder& binder() { return *binder_; }
  std::string text() const;

  std::unique_ptr<Binder> binder_;
};

// A recipe's text as dotted key -> value text, for comparing two recipes. Throws UserError as
// from_text does.
std::map<std::string, std::string> flatten_recipe(std::string_view text, std::string_view name);

}  // namespace ponder::core

// Typed access to the keys of a config.json; every complaint names file and key.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace ponder::policy {

// Borrows object and name: both must outlive it. A null value counts as a missing key.
class ConfigKeys {
 public:
  ConfigKeys(const nlohmann::json& object, const std::string& name)
      : object_(object), name_(name) {}

  const std::string& name() const { return name_; }
  const nlohmann::json& operator[](const char* key) const { return object_[key]; }
  bool has(const char* key) const { return object_.contains(key) && !object_[key].is_null(); }
  // There, be it as null.
  bool mentions(const char* key) const { return object_.contains(key); }

  // At least `low` and at most 2^30. Without a fallback the key must be there.
  int64_t integer(const char* key, int64_t low, std::optional<int64_t> fallback = {}) const;
  double number(const char* key, std::optional<double> fallback = {}) const;
  // The same, above 0.
  double positive(const char* key, std::optional<double> fallback = {}) const;
  bool boolean(const char* key, bool fallback) const;
  std::string text(const char* key, const std::string& fallback) const;
  std::vector<std::string> texts(const char* key) const;
  // A token id or a list of them.
  std::vector<int64_t> ids(const char* key) const;

  // Throws UserError "NAME: message" unless the condition holds.
  void require(bool condition, const std::string& message) const;

 private:
  const nlohmann::json& object_;
  const std::string& name_;
};

}  // namespace ponder::policy

#include "policy/config_keys.h"

#include <cmath>

#include "core/error.h"

namespace ponder::policy {

using core::throw_user;
using nlohmann::json;

int64_t ConfigKeys::integer(const char* key, int64_t low, std::optional<int64_t> fallback) const {
  if (!has(key)) {
    if (fallback) return *fallback;
    throw_user("{}: the key {} is missing, expected an integer", name_, key);
  }
  const json& value = object_[key];
  if (!value.is_number_integer())
    throw_user("{}: {}: expected an integer, found {}", name_, key, value.dump());
  const auto number = value.get<int64_t>();
  if (number < low) throw_user("{}: {}: expected at least {}, found {}", name_, key, low, number);
  // No published model comes near; keeps products of two sizes far from overflow.
  if (number > (int64_t{1} << 30))
    throw_user("{}: {}: expected at most 2^30, found {}", name_, key, number);
  return number;
}

double ConfigKeys::number(const char* key, std::optional<double> fallback) const {
  if (!has(key)) {
    if (fallback) return *fallback;
    throw_user("{}: the key {} is missing, expected a number", name_, key);
  }
  const json& value = object_[key];
  if (!value.is_number() || !std::isfinite(value.get<double>()))
    throw_user("{}: {}: expected a number, found {}", name_, key, value.dump());
  return value.get<double>();
}

double ConfigKeys::positive(const char* key, std::optional<double> fallback) const {
  const double value = number(key, fallback);
  if (value <= 0) throw_user("{}: {}: expected above 0, found {}", name_, key, value);
  return value;
}

bool ConfigKeys::boolean(const char* key, bool fallback) const {
  if (!has(key)) return fallback;
  const json& value = object_[key];
  if (!value.is_boolean())
    throw_user("{}: {}: expected true or false, found {}", name_, key, value.dump());
  return value.get<bool>();
}

std::string ConfigKeys::text(const char* key, const std::string& fallback) const {
  if (!has(key)) return fallback;
  const json& value = object_[key];
  if (!value.is_string())
    throw_user("{}: {}: expected a string, found {}", name_, key, value.dump());
  return value.get<std::string>();
}

std::vector<std::string> ConfigKeys::texts(const char* key) const {
  const json& value = object_[key];
  std::vector<std::string> out;
  if (!value.is_array())
    throw_user("{}: {}: expected a list of strings, found {}", name_, key, value.dump());
  for (const json& item : value) {
    if (!item.is_string())
      throw_user("{}: {}: expected a list of strings, found {}", name_, key, value.dump());
    out.push_back(item.get<std::string>());
  }
  return out;
}

std::vector<int64_t> ConfigKeys::ids(const char* key) const {
  if (!has(key)) return {};
  const json& value = object_[key];
  std::vector<int64_t> out;
  for (const json& item : value.is_array() ? value : json::array({value})) {
    if (!item.is_number_integer()) {
      throw_user("{}: {}: expected a token id or a list of them, found {}", name_, key,
                 value.dump());
    }
    out.push_back(item.get<int64_t>());
  }
  return out;
}

void ConfigKeys::require(bool condition, const std::string& message) const {
  if (!condition) throw_user("{}: {}", name_, message);
}

}  // namespace ponder::policy

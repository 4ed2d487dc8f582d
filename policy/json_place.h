// A JSON value and where it stands, so that every complaint about a tokenizer.json names file and
// place.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"

namespace ponder::policy {

using Json = nlohmann::json;

// Borrows the value: it must outlive this view.
class JsonPlace {
 public:
  JsonPlace(const Json& value, std::string place) : value_(&value), place_(std::move(place)) {}

  const Json& value() const { return *value_; }
  const std::string& place() const { return place_; }
  bool is_null() const { return value_->is_null(); }

  // The field, or null where it is missing. Throws UserError when this is no object.
  JsonPlace field(std::string_view key) const {
    static const Json kNull;
    if (!value_->is_object()) fail("an object");
    const auto found = value_->find(key);
    return {found == value_->end() ? kNull : *found, fmt::format("{}.{}", place_, key)};
  }

  std::vector<JsonPlace> items() const {
    if (!value_->is_array()) fail("a list");
    std::vector<JsonPlace> result;
    for (size_t i = 0; i < value_->size(); ++i)
      result.push_back({(*value_)[i], fmt::format("{}[{}]", place_, i)});
    return result;
  }

  std::string text() const {
    if (!value_->is_string()) fail("a string");
    return value_->get<std::string>();
  }
  bool boolean() const {
    if (!value_->is_boolean()) fail("true or false");
    return value_->get<bool>();
  }
  bool boolean_or(bool fallback) const { return is_null() ? fallback : boolean(); }
  std::string text_or(const char* fallback) const { return is_null() ? fallback : text(); }
  int32_t id() const {
    if (!value_->is_number_integer() || *value_ < 0 || *value_ > INT32_MAX) fail("a token id");
    return value_->get<int32_t>();
  }
  size_t count() const {
    if (!value_->is_number_integer() || *value_ < 0 || *value_ > INT32_MAX) fail("a count");
    return value_->get<size_t>();
  }

  [[noreturn]] void fail(std::string_view expected) const {
    std::string found = value_->dump(-1, ' ', false, Json::error_handler_t::replace);
    if (found.size() > 60) found = found.substr(0, 40) + "...";
    core::throw_user("{}: expected {}, found {}", place_, expected,
                     value_->is_null() ? "nothing" : found);
  }

 private:
  const Json* value_;
  std::string place_;
};

// The components of a "Sequence" (`key` names its list) laid flat, nested ones too; a lone
// component as itself, null as none. Throws UserError when nested too deeply.
inline void flatten_sequence(const JsonPlace& component, std::string_view key,
                             std::vector<JsonPlace>& flat, int depth = 0) {
  if (component.is_null()) return;
  if (depth > 16) core::throw_user("{}: nested more than 16 deep", component.place());
  if (component.field("type").text() != "Sequence") {
    flat.push_back(component);
    return;
  }
  for (const JsonPlace& part : component.field(key).items())
    flatten_sequence(part, key, flat, depth + 1);
}

}  // namespace ponder::policy

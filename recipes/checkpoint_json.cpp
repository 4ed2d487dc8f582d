#include "recipes/checkpoint_json.h"

#include <string>
#include <utility>

#include "core/crc32c.h"
#include "core/error.h"
#include "core/file.h"
#include "core/json_text.h"

namespace ponder::recipes {
namespace {

using data::Json;

constexpr const char* kChecksum = "crc32c";

std::string text_of(const Json& object) {
  return object.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

void write_checkpoint_json(const std::filesystem::path& path, Json object) {
  object[kChecksum] = core::crc32c(text_of(object));
  core::write_file_atomic(path, text_of(object) + "\n");
}

Json read_checkpoint_json(const std::filesystem::path& path) {
  Json object = core::parse_json_or_discard<Json>(core::read_file(path, "checkpoint"));
  if (!object.is_object()) throw_damaged(path, "no JSON object");
  const auto found = object.find(kChecksum);
  if (found == object.end()) return object;
  const Json expected = *found;
  object.erase(found);
  if (expected != core::crc32c(text_of(object)))
    throw_damaged(path, "its checksum is not that of its values");
  return object;
}

void throw_damaged(const std::filesystem::path& path, std::string_view what) {
  core::throw_user(
      "{}: damaged ({}): remove this checkpoint, and the link latest beside it, to go on from the "
      "one before",
      path.string(), what);
}

void throw_damaged(const std::filesystem::path& path, const Json::exception& error) {
  // Without the library's number: "[json.exception.out_of_range.403] key 'values' not found".
  const std::string_view what = error.what();
  const size_t end = what.find("] ");
  throw_damaged(path, end == std::string_view::npos ? what : what.substr(end + 2));
}

}  // namespace ponder::recipes

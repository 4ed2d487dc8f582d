#include "core/tensorboard.h"

#include <bit>
#include <chrono>
#include <cstring>

#include <unistd.h>

#include "core/crc32c.h"
#include "core/error.h"
#include "core/file.h"

namespace ponder::core {
namespace {

constexpr size_t kFrameHead = 12;  // length and its CRC
constexpr size_t kFrameTail = 4;   // the payload's CRC

// record_writer.h masks a CRC so that a CRC of bytes that hold CRCs stays a good one.
uint32_t masked(uint32_t crc) {
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

template <typename Unsigned>
void put_fixed(std::string& out, Unsigned value) {
  for (size_t i = 0; i < sizeof value; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
}

template <typename Unsigned>
Unsigned get_fixed(std::string_view bytes) {
  Unsigned value = 0;
  for (size_t i = 0; i < sizeof value; ++i) {
    value |= static_cast<Unsigned>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  }
  return value;
}

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

// Protobuf's wire types: the low three bits of a field's key.
enum WireType : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

void put_key(std::string& out, uint32_t field, WireType type) {
  put_varint(out, field << 3 | type);
}

void put_bytes(std::string& out, uint32_t field, std::string_view bytes) {
  put_key(out, field, kBytes);
  put_varint(out, bytes.size());
  out += bytes;
}

// Event: 1 wall_time (double), 2 step (int64), 3 file_version (string), 5 summary (Summary).
std::string event_head(double wall_time_s) {
  std::string event;
  put_key(event, 1, kFixed64);
  put_fixed(event, std::bit_cast<uint64_t>(wall_time_s));
  return event;
}

// Summary: 1 value (repeated Value). Value: 1 tag (string), 2 simple_value (float).
std::string summary_of(const std::map<std::string, double>& scalars) {
  std::string summary;
  for (const auto& [tag, number] : scalars) {
    std::string value;
    put_bytes(value, 1, tag);
    put_key(value, 2, kFixed32);
    put_fixed(value, std::bit_cast<uint32_t>(static_cast<float>(number)));
    put_bytes(summary, 1, value);
  }
  return summary;
}

// A name that no file of the folder has: a second writer within a second of the first gets ".1",
// ".2", ...
std::filesystem::path fresh_name(const std::filesystem::path& directory, int64_t unix_seconds) {
  char host[256] = "localhost";
  if (::gethostname(host, sizeof host - 1) != 0) std::strcpy(host, "localhost");
  const std::string name = fmt::format("events.out.tfevents.{}.{}.{}", unix_seconds, host,
                                       static_cast<long>(::getpid()));
  std::filesystem::path path = directory / name;
  for (int i = 1; std::filesystem::exists(path); ++i)
    path = directory / fmt::format("{}.{}", name, i);
  return path;
}

// The payload of the record at the front of `rest`, which moves past it; false where it is damaged
// or cut off.
bool next_record(std::string_view& rest, std::string_view& payload) {
  if (rest.size() < kFrameHead + kFrameTail) return false;
  const uint64_t size = get_fixed<uint64_t>(rest);
  if (get_fixed<uint32_t>(rest.substr(8)) != masked(crc32c(rest.substr(0, 8)))) return false;
  if (size > rest.size() - kFrameHead - kFrameTail) return false;
  payload = rest.substr(kFrameHead, size);
  if (get_fixed<uint32_t>(rest.substr(kFrameHead + size)) != masked(crc32c(payload))) return false;
  rest.remove_prefix(kFrameHead + size + kFrameTail);
  return true;
}

// Reads the two fields that our own events begin with. The version event has no step: false.
bool read_event_head(std::string_view event, int64_t& step, double& wall_time_s) {
  if (event.size() < 11 || event[0] != (1 << 3 | kFixed64) || event[9] != (2 << 3 | kVarint))
    return false;
  wall_time_s = std::bit_cast<double>(get_fixed<uint64_t>(event.substr(1)));
  uint64_t value = 0;
  for (size_t i = 10, shift = 0; i < event.size() && shift < 64; ++i, shift += 7) {
    value |= static_cast<uint64_t>(event[i] & 0x7f) << shift;
    if ((event[i] & 0x80) != 0) continue;
    step = static_cast<int64_t>(value);
    return true;
  }
  return false;
}

}  // namespace

std::string tfrecord(std::string_view payload) {
  std::string record;
  put_fixed(record, static_cast<uint64_t>(payload.size()));
  put_fixed(record, masked(crc32c(record)));
  record += payload;
  put_fixed(record, masked(crc32c(payload)));
  return record;
}

TensorBoardWriter::TensorBoardWriter(const std::filesystem::path& directory) {
  std::error_code failed;
  std::filesystem::create_directories(directory, failed);
  if (failed) throw_run("cannot create the folder {}: {}", directory.string(), failed.message());
  const double now_s =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  file_ = std::make_unique<FileAppender>(fresh_name(directory, static_cast<int64_t>(now_s)));
  std::string event = event_head(now_s);
  put_bytes(event, 3, "brain.Event:2");
  file_->append(tfrecord(event));
}

TensorBoardWriter::~TensorBoardWriter() = default;

void TensorBoardWriter::add_scalars(int64_t step, double wall_time_s,
                                    const std::map<std::string, double>& scalars) {
  std::string event = event_head(wall_time_s);
  put_key(event, 2, kVarint);
  put_varint(event, static_cast<uint64_t>(step));
  put_bytes(event, 5, summary_of(scalars));
  file_->append(tfrecord(event));
}

std::map<int64_t, double> read_event_times(const std::filesystem::path& directory) {
  std::map<int64_t, double> times;
  if (!std::filesystem::is_directory(directory)) return times;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (!entry.is_regular_file() ||
        entry.path().filename().string().find("tfevents") == std::string::npos)
      continue;
    const std::string content = read_file(entry.path(), "event file");
    std::string_view rest = content;
    std::string_view event;
    while (next_record(rest, event)) {
      int64_t step = 0;
      double wall_time_s = 0;
      if (read_event_head(event, step, wall_time_s)) times[step] = wall_time_s;
    }
  }
  return times;
}

}  // namespace ponder::core

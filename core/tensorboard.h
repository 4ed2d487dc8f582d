// TensorBoard event files, written by hand: a TFRecord frame (length, masked CRC-32C, payload,
// masked CRC-32C) around the protobuf message Event with a Summary of plain numbers. That is four
// field numbers; a protobuf dependency with its compiler and its ABI would cost more than these
// lines, and a test reads the files back with the real `tensorboard`. Knows nothing of what the
// tags mean. Formats: tensorflow/core/lib/io/record_writer.h, tensorflow/core/util/event.proto and
// tensorflow/core/framework/summary.proto.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace ponder::core {

class FileAppender;

// One TFRecord: 8 bytes length, its masked CRC, the payload, its masked CRC; all little-endian.
std::string tfrecord(std::string_view payload);

// Appends events to a new file `events.out.tfevents.<unix seconds>.<host>.<pid>` in its folder.
class TensorBoardWriter {
 public:
  // Creates `directory` where missing, and the file with its version event. Throws RunError when it
  // cannot.
  explicit TensorBoardWriter(const std::filesystem::path& directory);
  ~TensorBoardWriter();
  TensorBoardWriter(const TensorBoardWriter&) = delete;
  TensorBoardWriter& operator=(const TensorBoardWriter&) = delete;

  // One event with every scalar, handed to the kernel before it returns. `wall_time_s` is seconds
  // since 1970. Values are stored as float32, as TensorBoard does. Throws RunError when the write
  // fails.
  void add_scalars(int64_t step, double wall_time_s, const std::map<std::string, double>& scalars);

 private:
  std::unique_ptr<FileAppender> file_;
};

// The wall time (seconds since 1970) of each step in the event files of `directory`, so that a
// rewritten folder keeps them. A missing folder gives none; a file is read up to its first damaged
// record.
std::map<int64_t, double> read_event_times(const std::filesystem::path& directory);

}  // namespace ponder::core

// GGUF files piece by piece, well-formed or not: numbers are written as they are given.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace ponder::test {

class GgufBuilder {
 public:
  template <typename T>
  GgufBuilder& put(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  GgufBuilder& text(std::string_view text) {
    put<uint64_t>(text.size());
    bytes_ += text;
    return *this;
  }
  GgufBuilder& raw(std::string_view bytes) {
    bytes_ += bytes;
    return *this;
  }

  GgufBuilder& head(uint64_t tensors, uint64_t values, uint32_t version = 3) {
    return raw("GGUF").put(version).put(tensors).put(values);
  }
  // A metadata value of one of the format's types (0..12).
  template <typename T>
  GgufBuilder& value(std::string_view key, uint32_t type, T number) {
    return text(key).put(type).put(number);
  }
  GgufBuilder& value(std::string_view key, std::string_view content) {
    return text(key).put<uint32_t>(8).text(content);
  }
  GgufBuilder& list(std::string_view key, uint32_t type, uint64_t count) {
    return text(key).put<uint32_t>(9).put(type).put(count);
  }
  GgufBuilder& texts(std::string_view key, const std::vector<std::string>& items) {
    list(key, 8, items.size());
    for (const std::string& item : items) text(item);
    return *this;
  }
  // Sizes innermost first, as the file has them.
  GgufBuilder& tensor(std::string_view name, const std::vector<uint64_t>& sizes, uint32_t type,
                      uint64_t offset) {
    text(name).put(static_cast<uint32_t>(sizes.size()));
    for (const uint64_t size : sizes) put(size);
    return put(type).put(offset);
  }
  // Fills up to the alignment, then `count` bytes of data.
  GgufBuilder& data(size_t count, size_t alignment = 32) {
    bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment, '\0');
    bytes_.resize(bytes_.size() + count, '\1');
    return *this;
  }

  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

}  // namespace ponder::test

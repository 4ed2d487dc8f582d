#include "rollout/text_stream.h"

#include <algorithm>

namespace ponder::rollout {
namespace {

// Length of the longest end of `text` that begins `stop` without being all of it.
size_t begun(const std::string& text, const std::string& stop) {
  for (size_t length = std::min(text.size(), stop.size() - 1); length > 0; --length) {
    if (text.compare(text.size() - length, length, stop, 0, length) == 0) return length;
  }
  return 0;
}

}  // namespace

TextStream::TextStream(const policy::Tokenizer& tokenizer, bool skip_special_tokens,
                       std::vector<std::string> stops)
    : decoder_(tokenizer, skip_special_tokens), stops_(std::move(stops)) {
  std::erase(stops_, "");
}

std::string TextStream::push(int32_t token) {
  if (stopped_) return "";
  held_ += decoder_.push(token);
  size_t place = std::string::npos, keep = 0;
  for (const std::string& stop : stops_) {
    place = std::min(place, held_.find(stop));
    keep = std::max(keep, begun(held_, stop));
  }
  stopped_ = place != std::string::npos;
  return give_out(stopped_ ? place : held_.size() - keep);
}

std::string TextStream::finish() {
  if (stopped_) return "";
  held_ += decoder_.finish();
  return give_out(held_.size());
}

std::string TextStream::give_out(size_t bytes) {
  std::string out = held_.substr(0, bytes);
  held_.erase(0, bytes);
  text_ += out;
  return out;
}

}  // namespace ponder::rollout

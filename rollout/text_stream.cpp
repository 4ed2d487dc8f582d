#include "rollout/text_stream.h"

#include <algorithm>
#include <utility>

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
                       std::vector<std::string> stops, bool include_stop)
    : decoder_(tokenizer, skip_special_tokens),
      stops_(std::move(stops)),
      include_stop_(include_stop) {
  std::erase(stops_, "");
}

std::string TextStream::push(int32_t token) {
  if (stopped_) return "";
  held_ += decoder_.push(token);
  std::pair<size_t, size_t> first = {std::string::npos, 0};  // place and length
  size_t keep = 0;
  for (const std::string& stop : stops_) {
    const size_t place = held_.find(stop);
    if (place != std::string::npos) first = std::min(first, {place, stop.size()});
    keep = std::max(keep, begun(held_, stop));
  }
  stopped_ = first.first != std::string::npos;
  if (!stopped_) return give_out(held_.size() - keep);
  return give_out(first.first + (include_stop_ ? first.second : 0));
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

#include "rewards/format.h"

#include "rewards/math/extract.h"

namespace ponder::rewards {
namespace {

using std::string_view;
constexpr size_t npos = string_view::npos;

int count(string_view text, string_view what) {
  int found = 0;
  for (size_t at = text.find(what); at != npos; at = text.find(what, at + what.size())) ++found;
  return found;
}

bool is_blank(string_view text) {
  return text.find_first_not_of(" \t\r\n") == npos;
}

// Takes what stands before `tag` off the text, and the tag; nullopt-like npos data if it is
// missing.
bool cut(string_view& text, string_view tag, string_view* before) {
  const size_t at = text.find(tag);
  if (at == npos) return false;
  *before = text.substr(0, at);
  text.remove_prefix(at + tag.size());
  return true;
}

}  // namespace

bool has_think_format(string_view text) {
  constexpr string_view kOpen = "<think>";
  if (!text.starts_with(kOpen)) return false;
  text.remove_prefix(kOpen.size());
  return text.find(kOpen) == npos && text.find("</think>") != npos;
}

bool has_think_answer_format(string_view text) {
  for (string_view tag : {"<think>", "</think>", "<answer>", "</answer>"}) {
    if (count(text, tag) != 1) return false;
  }
  string_view lead, reasoning, between, answer;
  if (!cut(text, "<think>", &lead) || !cut(text, "</think>", &reasoning)) return false;
  if (!cut(text, "<answer>", &between) || !cut(text, "</answer>", &answer)) return false;
  return is_blank(lead) && is_blank(between) && is_blank(text);
}

double tag_count(string_view text) {
  double share = 0;
  for (string_view tag : {"<think>\n", "\n</think>\n", "\n<answer>\n", "\n</answer>"}) {
    if (count(text, tag) == 1) share += 0.25;
  }
  return share;
}

bool has_boxed(string_view text) {
  return math::count_boxes(text) > 0;
}

bool has_one_answer(string_view text) {
  const size_t reasoning = text.rfind("</think>");
  if (reasoning != npos) text.remove_prefix(reasoning);
  const int tags = count(text, "<answer>");
  if (tags > 0) return tags == 1 && count(text, "</answer>") == 1;
  return math::count_boxes(text) == 1;
}

}  // namespace ponder::rewards

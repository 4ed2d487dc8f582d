#include "policy/post_processor.h"

namespace ponder::policy {
namespace {

SpecialFrame read_template(const JsonPlace& component) {
  SpecialFrame frame;
  const JsonPlace special_tokens = component.field("special_tokens");
  int sequences = 0;
  for (const JsonPlace& piece : component.field("single").items()) {
    const JsonPlace special = piece.field("SpecialToken");
    if (special.is_null()) {
      if (piece.field("Sequence").field("id").text() != "A") piece.fail("the sequence A");
      ++sequences;
      continue;
    }
    std::vector<int32_t>& side = sequences == 0 ? frame.before : frame.after;
    const JsonPlace ids = special_tokens.field(special.field("id").text()).field("ids");
    for (const JsonPlace& id : ids.items()) side.push_back(id.id());
  }
  if (sequences != 1) component.field("single").fail("a template with the sequence A once");
  return frame;
}

int32_t second_of(const JsonPlace& pair) {
  const std::vector<JsonPlace> items = pair.items();
  if (items.size() != 2) pair.fail("a token and its id");
  return items[1].id();
}

}  // namespace

SpecialFrame read_post_processor(const JsonPlace& component) {
  std::vector<JsonPlace> parts;
  flatten_sequence(component, "processors", parts);
  SpecialFrame all;
  for (const JsonPlace& part : parts) {
    const std::string type = part.field("type").text();
    SpecialFrame frame;
    if (type == "TemplateProcessing") {
      frame = read_template(part);
    } else if (type == "BertProcessing" || type == "RobertaProcessing") {
      frame = {{second_of(part.field("cls"))}, {second_of(part.field("sep"))}};
    } else if (type != "ByteLevel") {
      core::throw_user(
          "{}: unknown post-processor '{}', expected TemplateProcessing, BertProcessing, "
          "RobertaProcessing, ByteLevel "
          "or Sequence",
          part.place(), type);
    }
    all.before.insert(all.before.begin(), frame.before.begin(), frame.before.end());
    all.after.insert(all.after.end(), frame.after.begin(), frame.after.end());
  }
  return all;
}

}  // namespace ponder::policy

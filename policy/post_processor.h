// The "post_processor" of a tokenizer.json: the special tokens around a sequence (a bos in front,
// say).
#pragma once

#include <cstdint>
#include <vector>

#include "policy/json_place.h"

namespace ponder::policy {

// Ids to put before and after the ids of a single sequence.
struct SpecialFrame {
  std::vector<int32_t> before;
  std::vector<int32_t> after;
};

// Reads TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel (adds nothing) and
// Sequence; null: nothing. Throws UserError on another type, or a template without exactly one
// sequence.
SpecialFrame read_post_processor(const JsonPlace& component);

}  // namespace ponder::policy

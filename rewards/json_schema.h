// A completion's JSON against a schema. Ours because the packaged validators match patterns with
// std::regex, which backtracks without bound and overflows the stack on long text; here all work is
// counted, and patterns are RE2's.
#pragma once

#include <string>
#include <string_view>

#include "rewards/reward.h"

namespace ponder::rewards {

// Why `value` does not fit `schema`, with the place ("$.items[2]: expected integer"), or "" where
// it does.
//
// Keywords of JSON Schema 2020-12: type, enum, const, properties, required, additionalProperties,
// patternProperties, propertyNames, minProperties, maxProperties, dependentRequired, items,
// prefixItems, minItems, maxItems, uniqueItems, contains, minimum, maximum, exclusiveMinimum,
// exclusiveMaximum, multipleOf, minLength, maxLength, pattern, allOf, anyOf, oneOf, not, if, then,
// else, $ref to "#/...". Annotations (title, description, format, $defs ...) are passed over.
// Throws std::invalid_argument for a schema that uses anything else or is malformed, and where a
// million steps do not do.
std::string schema_mismatch(const data::Json& schema, const data::Json& value);

// 1 where the JSON of the completion fits the schema that the prompt's answer is (an object, or its
// text). The JSON is the last fenced block behind the reasoning, else all that stands there.
// Without answer any valid JSON will do.
class JsonSchema : public Reward {
 public:
  Judgement judge(const data::Prompt& prompt, const data::Completion& completion) const override;
  std::string problem_with(const data::Prompt& prompt) const override;
};

}  // namespace ponder::rewards

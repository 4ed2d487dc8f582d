// The weights that passes in 8 bits multiply with. Only for the files of this folder.
#pragma once

#include "policy/decode/stages.h"
#include "policy/model.h"

namespace ponder::policy::decode {

// Every linear map of every layer but those that attention folds into its queries, and the output
// weight; what one output takes rounded to multiples of its greatest magnitude / 127.
Int8Weights quantize(const Model& model);

}  // namespace ponder::policy::decode

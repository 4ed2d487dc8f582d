/* A reward in C: 1 where the completion has at most as many words as the answer asks for, falling
 * to 0 at twice as many. `answer` is that number; where it is none the reward does not apply. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "rewards/reward_plugin.h"

static size_t count_words(ponder_text text) {
  size_t words = 0;
  int inside = 0;
  for (size_t i = 0; i < text.size; ++i) {
    const int blank = isspace((unsigned char)text.data[i]);
    if (!blank && !inside) ++words;
    inside = !blank;
  }
  return words;
}

static void judge(const ponder_reward_record* record, ponder_reward_result* result) {
  char* end = NULL;
  const double limit = strtod(record->answer.data, &end);
  if (end == record->answer.data || !(limit > 0)) {
    result->status = PONDER_REWARD_NONE;
    return;
  }
  const double words = (double)count_words(record->completion);
  const double over = (words - limit) / limit;
  result->reward = over <= 0 ? 1 : over >= 1 ? 0 : 1 - over;
  result->status = over <= 0 ? PONDER_REWARD_OK : PONDER_REWARD_WRONG;
  snprintf(result->reason, sizeof result->reason, "%.0f words, at most %g wanted", words, limit);
}

uint32_t ponder_reward_abi_version(void) {
  return PONDER_REWARD_ABI_VERSION;
}

int32_t ponder_reward_score(const ponder_reward_record* records, size_t count,
                            ponder_reward_result* results) {
  for (size_t i = 0; i < count; ++i) judge(&records[i], &results[i]);
  return 0;
}

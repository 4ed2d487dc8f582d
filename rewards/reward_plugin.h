// The C ABI of reward plugins: build a shared object with these two functions and name it as a
// reward,
// `./mine.so`. Nothing of ponder is linked and ponder is not rebuilt. C99 and C++; no type here has
// constructors. The plugin runs in a process of its own: what it does wrong (a crash, an endless
// loop) costs its own completions only.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Grows when a struct or a meaning changes; a plugin with another version is refused when it is
 * loaded. */
#define PONDER_REWARD_ABI_VERSION 1

/* Text in UTF-8 with its size in bytes. It also ends with a NUL that `size` does not count, and may
 * hold others. */
typedef struct ponder_text {
  const char* data;
  size_t size;
} ponder_text;

/* One completion to judge. Borrowed: valid until the call returns. */
typedef struct ponder_reward_record {
  ponder_text prompt; /* a conversation as the JSON of its messages */
  ponder_text completion;
  ponder_text answer; /* the reference: a JSON string's content, any other JSON as its text, ""
                         where there is none */
  ponder_text finish_reason; /* "stop", "length" or "aborted" */
  ponder_text json; /* the whole record as one JSON object, with every column of the dataset */
} ponder_reward_record;

enum ponder_reward_status {
  PONDER_REWARD_NONE =
      0, /* does not apply: no reward, and the completion's total goes without it */
  PONDER_REWARD_OK = 1,
  PONDER_REWARD_WRONG = 2,
  PONDER_REWARD_UNPARSED = 3, /* the completion holds no answer that could be read */
  PONDER_REWARD_REFUSED = 4,  /* the reference cannot be used: no reward */
  PONDER_REWARD_UNSET =
      5 /* how ponder hands a result in; one that is still unset is counted as crashed */
};

typedef struct ponder_reward_result {
  double reward;    /* finite, at most 1e6 in size */
  int32_t status;   /* enum ponder_reward_status */
  char reason[256]; /* for a person, NUL-terminated UTF-8; may stay empty */
} ponder_reward_result;

/* Returns PONDER_REWARD_ABI_VERSION. */
uint32_t ponder_reward_abi_version(void);

/* Fills results[i] for records[i], i < count. Called by one thread at a time in each process.
 * Returns 0; any other value says that the whole call failed: ponder then tries the records one by
 * one. */
int32_t ponder_reward_score(const ponder_reward_record* records, size_t count,
                            ponder_reward_result* results);

#ifdef __cplusplus
}
#endif

#include "errors.h"

#include "log.h"

// Arrays instead of pointers to the text, because the linker does not support pointers in data.
typedef struct {
  u32 code;
  char name[32], message[72];
} Description;

static const Description DESCRIPTIONS[] = {
#define X(code, name, message) {code, #name, message},
    ERRORS(X)
#undef X
};

// Anchor's clients parse this wording (AnchorError.parse in @coral-xyz/anchor).
static u64 finish(Buffer *line, u64 code) {
  for (u64 i = 0; i < sizeof DESCRIPTIONS / sizeof *DESCRIPTIONS; i++) {
    const Description *error = &DESCRIPTIONS[i];
    if (error->code != code) continue;
    say(line, " Error Code: ");
    say_name(line, error->name, sizeof error->name);
    say(line, ". Error Number: ");
    say_number(line, code);
    say(line, ". Error Message: ");
    say_name(line, error->message, sizeof error->message);
    say(line, ".");
    log_line(line);
  }
  return code;
}

u64 fail(u64 code) {
  Buffer line;
  buffer_clear(&line);
  say(&line, "AnchorError occurred.");
  return finish(&line, code);
}

u64 fail_because_of(const char *account, u64 capacity, u64 code) {
  Buffer line;
  buffer_clear(&line);
  say(&line, "AnchorError caused by account: ");
  say_name(&line, account, capacity);
  say(&line, ".");
  return finish(&line, code);
}

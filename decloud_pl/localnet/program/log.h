// Writes to the transaction log.
#pragma once
#include "borsh.h"

// Text for people: "Program log: ..." lines.
void say_bytes(Buffer *, const u8 *, u64 length);
void say_name(Buffer *, const char *name, u64 capacity);  // zero-terminated text in a fixed-size array
void say_number(Buffer *, u64);
void say_time(Buffer *, i64);
void say_key(Buffer *, const Pubkey *);  // base58
#define say(buffer, literal) say_bytes(buffer, (const u8 *)(literal), sizeof(literal) - 1)
void log_line(const Buffer *);

// Events for programs: "Program data: <base64>" lines with the discriminator, followed by the fields in Borsh.
void event_start(Buffer *, u64 discriminator);
void log_event(const Buffer *);

// Borsh: little-endian integers, text = u32 byte length + UTF-8, no padding (https://borsh.io).
#pragma once
#include "sol.h"

// Reads from the front. The first value that does not fit sets `failed`, and later reads return zeros, so that a caller
// needs only one check at the end.
typedef struct {
  const u8 *at, *end;
  u8 failed;
} Reader;

u64 read_integer(Reader *, u64 width);
u8 read_bool(Reader *);
void read_key(Reader *, Pubkey *);
void read_text(Reader *, Slice *);  // points into the reader's bytes
int read_everything(const Reader *);  // no read failed, and no bytes are left

// A buffer for events, account data and log lines. 512 bytes hold the longest of each: an event with ten results (376), a
// Round (201), a line with two keys or a CID (below 250).
#define BUFFER_CAPACITY 512
typedef struct {
  u64 length;
  u8 bytes[BUFFER_CAPACITY];
} Buffer;

static inline void buffer_clear(Buffer *buffer) { buffer->length = 0; }
void put_bytes(Buffer *, const void *, u64 length);
void put_integer(Buffer *, u64 value, u64 width);
void put_key(Buffer *, const Pubkey *);
void put_text(Buffer *, const u8 *, u64 length);  // preceded by its length

#include "borsh.h"

static const u8 *take(Reader *reader, u64 length) {
  if (reader->failed || (u64)(reader->end - reader->at) < length) {
    reader->failed = 1;
    return 0;
  }
  const u8 *taken = reader->at;
  reader->at += length;
  return taken;
}

u64 read_integer(Reader *reader, u64 width) {
  const u8 *bytes = take(reader, width);
  u64 value = 0;
  if (bytes)
    for (u64 i = 0; i < width; i++) value |= (u64)bytes[i] << (8 * i);
  return value;
}

u8 read_bool(Reader *reader) {
  u64 value = read_integer(reader, 1);
  if (value > 1) reader->failed = 1;
  return value == 1;
}

void read_key(Reader *reader, Pubkey *key) {
  const u8 *bytes = take(reader, sizeof *key);
  if (bytes) sol_memcpy_(key, bytes, sizeof *key);
}

// Rust's String and the logging syscall apply the same rule: no overlong forms, no surrogates, no value above U+10FFFF
// (The Unicode Standard, table 3-7).
static int is_utf8(const u8 *at, u64 length) {
  const u8 *end = at + length;
  while (at < end) {
    u8 first = *at++;
    if (first < 0x80) continue;
    u64 more = first >= 0xc2 && first <= 0xdf ? 1 : first >= 0xe0 && first <= 0xef ? 2 : first >= 0xf0 && first <= 0xf4 ? 3 : 0;
    if (!more || (u64)(end - at) < more) return 0;
    u8 low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    u8 high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (*at < low || *at > high) return 0;
    for (at++, more--; more; at++, more--)
      if ((*at & 0xc0) != 0x80) return 0;
  }
  return 1;
}

void read_text(Reader *reader, Slice *text) {
  u64 length = read_integer(reader, 4);
  const u8 *bytes = take(reader, length);
  if (bytes && !is_utf8(bytes, length)) reader->failed = 1;
  text->at = bytes;
  text->length = reader->failed ? 0 : length;
}

int read_everything(const Reader *reader) { return !reader->failed && reader->at == reader->end; }

void put_bytes(Buffer *buffer, const void *bytes, u64 length) {
  // All contents have bounded sizes (see BUFFER_CAPACITY). If that is ever wrong, abort instead of overwriting the stack.
  if (BUFFER_CAPACITY - buffer->length < length) abort();
  sol_memcpy_(buffer->bytes + buffer->length, bytes, length);
  buffer->length += length;
}

void put_integer(Buffer *buffer, u64 value, u64 width) { put_bytes(buffer, &value, width); }

void put_key(Buffer *buffer, const Pubkey *key) { put_bytes(buffer, key, sizeof *key); }

void put_text(Buffer *buffer, const u8 *text, u64 length) {
  put_integer(buffer, length, 4);
  put_bytes(buffer, text, length);
}

#include "log.h"

void say_bytes(Buffer *line, const u8 *text, u64 length) { put_bytes(line, text, length); }

void say_name(Buffer *line, const char *name, u64 capacity) {
  u64 length = 0;
  while (length < capacity && name[length]) length++;
  put_bytes(line, name, length);
}

void say_number(Buffer *line, u64 value) {
  u8 digits[20];
  u64 start = sizeof digits;
  do {
    digits[--start] = '0' + value % 10;
    value /= 10;
  } while (value);
  put_bytes(line, digits + start, sizeof digits - start);
}

void say_time(Buffer *line, i64 seconds) {
  if (seconds < 0) say(line, "-");
  say_number(line, seconds < 0 ? -(u64)seconds : (u64)seconds);
}

// Converts the key by repeated division by 58^5, the highest power that leaves a 32-bit remainder. This takes nine divisions
// of eight limbs instead of forty-four divisions of thirty-two bytes.
#define BASE58_CHUNK 656356768u
void say_key(Buffer *line, const Pubkey *key) {
  static const char alphabet[] = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
  u64 limbs[8];
  for (u64 i = 0; i < 8; i++) {
    const u8 *b = key->bytes + 4 * i;
    limbs[i] = (u64)b[0] << 24 | (u64)b[1] << 16 | (u64)b[2] << 8 | b[3];
  }
  u8 digits[45];
  for (u64 chunk = 9; chunk-- > 0;) {
    u64 rest = 0;
    for (u64 i = 0; i < 8; i++) {
      u64 value = rest << 32 | limbs[i];
      limbs[i] = value / BASE58_CHUNK;
      rest = value % BASE58_CHUNK;
    }
    for (u64 i = 5; i-- > 0; rest /= 58) digits[5 * chunk + i] = rest % 58;
  }
  u64 start = 0;
  while (start < sizeof digits && digits[start] == 0) start++;
  for (u64 i = 0; i < sizeof key->bytes && key->bytes[i] == 0; i++) put_bytes(line, alphabet, 1);
  for (u64 i = start; i < sizeof digits; i++) digits[i] = alphabet[digits[i]];
  put_bytes(line, digits + start, sizeof digits - start);
}

void log_line(const Buffer *line) { sol_log_(line->bytes, line->length); }

void event_start(Buffer *event, u64 discriminator) {
  buffer_clear(event);
  put_integer(event, discriminator, 8);
}

void log_event(const Buffer *event) {
  Slice fields = {event->bytes, event->length};
  sol_log_data(&fields, 1);
}

/* Written by UAIR: arrays in files, and numbers between files and tensors. Needs the C library only. */
#include "uair_io.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const DESCRIPTIONS[] = {"|b1", "|i1", "<i4", "<i8", "<f2", "<f4"};
static const size_t SIZES[] = {1, 1, 4, 8, 2, 4};

size_t uair_size(enum uair_type type) { return SIZES[type]; }

size_t uair_elements(const struct uair_port *port) {
  size_t count = 1;
  for (int i = 0; i < port->rank; i++) count *= (size_t)port->extents[i];
  return count;
}

char *uair_read(const char *path, size_t *bytes) {
  FILE *file = fopen(path, "rb");
  long size = -1;
  if (file && fseek(file, 0, SEEK_END) == 0) size = ftell(file);
  if (size < 0 || fseek(file, 0, SEEK_SET) != 0) {
    fprintf(stderr, "%s cannot be read: %s\n", path, strerror(errno));
    if (file) fclose(file);
    return NULL;
  }
  char *data = aligned_alloc(64, ((size_t)size + 64) / 64 * 64);
  if (!data || fread(data, 1, (size_t)size, file) != (size_t)size) {
    fprintf(stderr, "%s cannot be read: %s\n", path, data ? "it ends early" : "not enough memory");
    free(data);
    data = NULL;
  } else {
    data[size] = 0;
    *bytes = (size_t)size;
  }
  fclose(file);
  return data;
}

/* Where the elements of an .npy file begin; 0 when it is no .npy file, -1 when it is one of another type. */
static long npy_begin(const char *data, size_t bytes, enum uair_type type) {
  if (bytes < 12 || memcmp(data, "\x93NUMPY", 6) != 0) return 0;
  const unsigned char *u = (const unsigned char *)data;
  size_t length = u[6] == 1 ? u[8] | u[9] << 8 : u[8] | u[9] << 8 | u[10] << 16 | (size_t)u[11] << 24;
  size_t begin = (u[6] == 1 ? 10 : 12) + length;
  if (begin > bytes || begin > 65536) return -1;
  char header[65536];
  memcpy(header, data + begin - length, length);
  header[length] = 0;
  char wanted[32];
  snprintf(wanted, sizeof wanted, "'descr': '%s'", DESCRIPTIONS[type]);
  if (!strstr(header, wanted) || !strstr(header, "'fortran_order': False")) return -1;
  return (long)begin;
}

void *uair_read_array(const char *path, const struct uair_port *port) {
  size_t bytes = 0, wanted = uair_elements(port) * uair_size(port->type);
  char *data = uair_read(path, &bytes);
  if (!data) return NULL;
  long begin = npy_begin(data, bytes, port->type);
  if (begin < 0 || bytes - (size_t)begin != wanted) {
    fprintf(stderr, "%s does not hold %zu elements of type %s for %s\n", path, uair_elements(port),
            DESCRIPTIONS[port->type], port->name);
    free(data);
    return NULL;
  }
  memmove(data, data + begin, wanted);
  return data;
}

int uair_write_array(const char *path, const struct uair_port *port, const void *data) {
  char shape[128] = "", header[256];
  size_t used = 0;
  for (int i = 0; i < port->rank; i++)
    used += (size_t)snprintf(shape + used, sizeof shape - used, "%d, ", port->extents[i]);
  int length = snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }",
                        DESCRIPTIONS[port->type], shape);
  int padded = (10 + length + 1 + 63) / 64 * 64 - 10;
  memset(header + length, ' ', (size_t)(padded - length));
  header[padded - 1] = '\n';
  unsigned char start[10] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (unsigned char)padded, (unsigned char)(padded >> 8)};
  FILE *file = fopen(path, "wb");
  size_t bytes = uair_elements(port) * uair_size(port->type);
  int bad = !file || fwrite(start, 1, 10, file) != 10 || fwrite(header, 1, (size_t)padded, file) != (size_t)padded ||
            fwrite(data, 1, bytes, file) != bytes;
  if (file && fclose(file) != 0) bad = 1;
  if (bad) fprintf(stderr, "%s cannot be written: %s\n", path, strerror(errno));
  return bad;
}

/* Round half to even; overflow gives infinity. */
static uint16_t to_half(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
  bits &= 0x7fffffff;
  if (bits > 0x7f800000) return sign | 0x7e00;
  if (bits >= 0x477ff000) return sign | 0x7c00;
  if (bits < 0x38800000) { /* below 2^-14: a multiple of 2^-24 */
    float magnitude;
    memcpy(&magnitude, &bits, sizeof magnitude);
    return sign | (uint16_t)nearbyintf(magnitude * 16777216.0f);
  }
  uint32_t rounded = bits + 0xfff + (bits >> 13 & 1);
  return sign | (uint16_t)((rounded - 0x38000000) >> 13);
}

static float from_half(uint16_t half) {
  uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 1023, bits;
  if (exponent == 0) {
    float value = (float)fraction / 16777216.0f;
    return sign ? -value : value;
  }
  bits = sign | (exponent == 31 ? 0x7f800000 : (exponent + 112) << 23) | fraction << 13;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

void uair_to_half(const float *from, uint16_t *to, size_t count) {
  for (size_t i = 0; i < count; i++) to[i] = to_half(from[i]);
}

void uair_from_half(const uint16_t *from, float *to, size_t count) {
  for (size_t i = 0; i < count; i++) to[i] = from_half(from[i]);
}

void uair_quantize(const float *from, int8_t *to, size_t count, float scale, int zero_point) {
  for (size_t i = 0; i < count; i++) {
    float q = nearbyintf(from[i] / scale) + (float)zero_point;
    to[i] = (int8_t)(q < -128.0f ? -128.0f : q > 127.0f ? 127.0f : q);
  }
}

void uair_dequantize(const int8_t *from, float *to, size_t count, float scale, int zero_point) {
  for (size_t i = 0; i < count; i++) to[i] = (float)(from[i] - zero_point) * scale;
}

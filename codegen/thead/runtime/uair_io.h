/* Written by UAIR: arrays in files, and numbers between files and tensors. Needs the C library only. */
#ifndef UAIR_IO_H
#define UAIR_IO_H

#include <stddef.h>
#include <stdint.h>

enum uair_type { UAIR_BOOL, UAIR_INT8, UAIR_INT32, UAIR_INT64, UAIR_FLOAT16, UAIR_FLOAT32 };

struct uair_port {
  const char *name;
  enum uair_type type;
  int rank;
  int extents[8];
};

/* Bytes of one element. */
size_t uair_size(enum uair_type type);

/* Number of elements. */
size_t uair_elements(const struct uair_port *port);

/* The content of a file, at an address that is a multiple of 64, followed by a zero byte. NULL, with a message on
   standard error, when it cannot be read. */
char *uair_read(const char *path, size_t *bytes);

/* The elements of a port from an .npy file of its type and number of elements, or from a file that holds nothing but
   the elements (little endian, C order). NULL, with a message on standard error, when the file is no such. */
void *uair_read_array(const char *path, const struct uair_port *port);

/* Write an .npy file; 0 when that worked. */
int uair_write_array(const char *path, const struct uair_port *port, const void *data);

/* Between real numbers and what a tensor holds. */
void uair_to_half(const float *from, uint16_t *to, size_t count);
void uair_from_half(const uint16_t *from, float *to, size_t count);
void uair_quantize(const float *from, int8_t *to, size_t count, float scale, int zero_point);
void uair_dequantize(const int8_t *from, float *to, size_t count, float scale, int zero_point);

#endif

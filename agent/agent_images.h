// Which code is, or was, mapped where.
#ifndef TM_AGENT_IMAGES_H
#define TM_AGENT_IMAGES_H

#include <stdbool.h>
#include <stdint.h>

enum { TM_IMAGES = 512, TM_IMAGE_ID = 20, TM_IMAGE_PATHS = 65536 };

typedef struct tm_image {
  uintptr_t begin, end;
  uint64_t file_offset;
  uint32_t path;    // into the pool of paths
  bool is_here;     // still mapped when the images were looked at last
  bool is_main;     // of the program itself
  uint8_t id_bytes; // of the build id; 0: none
  uint8_t id[TM_IMAGE_ID];
} tm_image;

// Looks at the mappings again; those that went are kept as long as there is room. Not for malloc's
// path. False: somebody else is at it, or /proc cannot be read.
bool tm_images_update(void);
uint32_t tm_images_count(void);
const tm_image *tm_image_at(uint32_t number);
const char *tm_image_path(const tm_image *image);
// The number of the image that holds an address, what is mapped now before what was; UINT32_MAX.
uint32_t tm_image_of(uintptr_t address);

#endif

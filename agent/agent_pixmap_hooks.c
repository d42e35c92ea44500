// The calls of libX11, libXext and libxcb by which a program gets and gives back pixmaps, which are
// in the server's memory. None of these libraries is needed: what calls them has loaded them.
#include "agent_handles.h"

#define HERE __builtin_frame_address(0)

typedef unsigned long xid; // NOLINT(google-runtime-int): as X declares it
typedef struct xcb_cookie {
  unsigned sequence;
} xcb_cookie;

// NOLINTBEGIN(readability-identifier-naming): the names of X
static struct {
  xid (*XCreatePixmap)(void *, xid, unsigned, unsigned, unsigned);
  xid (*XShmCreatePixmap)(void *, xid, char *, void *, unsigned, unsigned, unsigned);
  int (*XFreePixmap)(void *, xid);
  int (*XCloseDisplay)(void *);
  xcb_cookie (*xcb_create_pixmap)(void *, uint8_t, uint32_t, uint32_t, uint16_t, uint16_t);
  xcb_cookie (*xcb_create_pixmap_checked)(void *, uint8_t, uint32_t, uint32_t, uint16_t, uint16_t);
  xcb_cookie (*xcb_free_pixmap)(void *, uint32_t);
  xcb_cookie (*xcb_free_pixmap_checked)(void *, uint32_t);
  void (*xcb_disconnect)(void *);
} next;

#define IS_FOUND(name) (TM_LIKELY(next.name != NULL) || tm_handle_find(#name, &next.name))

// Lines are padded to 32 bits. Source: the X protocol's encoding, the formats that X.Org's server
// offers for each depth.
static uint64_t bytes_of(uint64_t width, uint64_t height, uint32_t depth) {
  uint64_t bits = depth <= 1 ? 1 : depth <= 4 ? 4 : depth <= 8 ? 8 : depth <= 16 ? 16 : 32;
  return (width * bits + 31) / 32 * 4 * height;
}

static xid hook_XCreatePixmap(void *display, xid drawable, unsigned width, unsigned height,
                              unsigned depth) {
  if (!IS_FOUND(XCreatePixmap)) return 0;
  xid made = next.XCreatePixmap(display, drawable, width, height, depth);
  if (tm_handles_are_asked()) tm_pixmap_made(made, display, bytes_of(width, height, depth), HERE);
  return made;
}

static xid hook_XShmCreatePixmap(void *display, xid drawable, char *data, void *segment,
                                 unsigned width, unsigned height, unsigned depth) {
  if (!IS_FOUND(XShmCreatePixmap)) return 0;
  xid made = next.XShmCreatePixmap(display, drawable, data, segment, width, height, depth);
  if (tm_handles_are_asked()) tm_pixmap_made(made, display, bytes_of(width, height, depth), HERE);
  return made;
}

static int hook_XFreePixmap(void *display, xid pixmap) {
  if (tm_handles_are_known()) tm_pixmap_freeing(pixmap);
  return IS_FOUND(XFreePixmap) ? next.XFreePixmap(display, pixmap) : 0;
}

static int hook_XCloseDisplay(void *display) {
  if (tm_handles_are_known()) tm_pixmaps_closing(display);
  return IS_FOUND(XCloseDisplay) ? next.XCloseDisplay(display) : 0;
}

static xcb_cookie hook_xcb_create_pixmap(void *connection, uint8_t depth, uint32_t pixmap,
                                         uint32_t drawable, uint16_t width, uint16_t height) {
  if (!IS_FOUND(xcb_create_pixmap)) return (xcb_cookie){0};
  if (tm_handles_are_asked())
    tm_pixmap_made(pixmap, connection, bytes_of(width, height, depth), HERE);
  return next.xcb_create_pixmap(connection, depth, pixmap, drawable, width, height);
}

static xcb_cookie hook_xcb_create_pixmap_checked(void *connection, uint8_t depth, uint32_t pixmap,
                                                 uint32_t drawable, uint16_t width,
                                                 uint16_t height) {
  if (!IS_FOUND(xcb_create_pixmap_checked)) return (xcb_cookie){0};
  if (tm_handles_are_asked())
    tm_pixmap_made(pixmap, connection, bytes_of(width, height, depth), HERE);
  return next.xcb_create_pixmap_checked(connection, depth, pixmap, drawable, width, height);
}

static xcb_cookie hook_xcb_free_pixmap(void *connection, uint32_t pixmap) {
  if (tm_handles_are_known()) tm_pixmap_freeing(pixmap);
  return IS_FOUND(xcb_free_pixmap) ? next.xcb_free_pixmap(connection, pixmap) : (xcb_cookie){0};
}

static xcb_cookie hook_xcb_free_pixmap_checked(void *connection, uint32_t pixmap) {
  if (tm_handles_are_known()) tm_pixmap_freeing(pixmap);
  if (!IS_FOUND(xcb_free_pixmap_checked)) return (xcb_cookie){0};
  return next.xcb_free_pixmap_checked(connection, pixmap);
}

static void hook_xcb_disconnect(void *connection) {
  if (tm_handles_are_known()) tm_pixmaps_closing(connection);
  if (IS_FOUND(xcb_disconnect)) next.xcb_disconnect(connection);
}

// NOLINTEND(readability-identifier-naming)

#define PIXMAP(name)                                                                               \
  { #name, (void (*)(void))hook_##name, &next.name }

const tm_agent_hook tm_pixmap_hooks[] = {
    PIXMAP(XCreatePixmap),
    PIXMAP(XShmCreatePixmap),
    PIXMAP(XFreePixmap),
    PIXMAP(XCloseDisplay),
    PIXMAP(xcb_create_pixmap),
    PIXMAP(xcb_create_pixmap_checked),
    PIXMAP(xcb_free_pixmap),
    PIXMAP(xcb_disconnect),
    PIXMAP(xcb_free_pixmap_checked),
    {0},
};

// NOLINTBEGIN(readability-identifier-naming): the names of others
#define ALIAS(name) TM_EXPORT __attribute__((alias("hook_" #name)))
ALIAS(XCreatePixmap) xid XCreatePixmap(void *, xid, unsigned, unsigned, unsigned);
ALIAS(XShmCreatePixmap)
xid XShmCreatePixmap(void *, xid, char *, void *, unsigned, unsigned, unsigned);
ALIAS(XFreePixmap) int XFreePixmap(void *, xid);
ALIAS(XCloseDisplay) int XCloseDisplay(void *);
ALIAS(xcb_create_pixmap)
xcb_cookie xcb_create_pixmap(void *, uint8_t, uint32_t, uint32_t, uint16_t, uint16_t);
ALIAS(xcb_create_pixmap_checked)
xcb_cookie xcb_create_pixmap_checked(void *, uint8_t, uint32_t, uint32_t, uint16_t, uint16_t);
ALIAS(xcb_free_pixmap) xcb_cookie xcb_free_pixmap(void *, uint32_t);
ALIAS(xcb_free_pixmap_checked) xcb_cookie xcb_free_pixmap_checked(void *, uint32_t);
ALIAS(xcb_disconnect) void xcb_disconnect(void *);
// NOLINTEND(readability-identifier-naming)

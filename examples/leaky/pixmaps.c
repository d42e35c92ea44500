// The pixmap mode: made in the X server of $DISPLAY and never freed. They are in the server's
// memory; this process stays as small as it is.
#include "leaky.h"

#include <errno.h>

#ifdef LEAKY_XCB

#include <stdlib.h>
#include <xcb/xcb.h>

enum { SIDE = 64, DEPTH = 24 };

uint64_t leaky_grow_pixmaps(leaky *app, leaky_mode_id id) {
  (void)id;
  if (!app->display) {
    app->display = xcb_connect(NULL, NULL);
    if (xcb_connection_has_error(app->display)) {
      xcb_disconnect(app->display);
      app->display = NULL;
      errno = ECONNREFUSED;
      return 0;
    }
  }
  xcb_screen_t *screen = xcb_setup_roots_iterator(xcb_get_setup(app->display)).data;
  xcb_pixmap_t pixmap = xcb_generate_id(app->display);
  xcb_create_pixmap(app->display, DEPTH, pixmap, screen->root, SIDE, SIDE);
  return xcb_flush(app->display) > 0;
}

#else

uint64_t leaky_grow_pixmaps(leaky *app, leaky_mode_id id) {
  (void)app, (void)id;
  errno = ENOSYS; // built without xcb
  return 0;
}

#endif

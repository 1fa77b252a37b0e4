/* A watchdog device for a machine that has none. Preloaded into a feeder, it turns the opening of $WATCHDOG_PATH into a
   connection to the timer at the unix socket $WATCHDOG_SOCKET, and the ioctls of <linux/watchdog.h> into lines on it. The timer
   (timer.py) is another process, so a feeder that is stopped or killed is noticed, as by the real device.

   cc -shared -fPIC -O2 -o shim.so shim.c -ldl

   $WATCHDOG_NO_MAGIC: a driver that stops at every close. $WATCHDOG_ROUNDS: one that takes that many seconds instead of those
   asked for. Anything that calls libc is served; a static Go program isn't. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/watchdog.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int device = -1;
static int seconds = 60;

static int is_device(const char *path) {
  const char *ours = getenv("WATCHDOG_PATH");
  return path && ours && strcmp(path, ours) == 0;
}

static int say(const char *line) {
  size_t length = strlen(line);
  return write(device, line, length) == (ssize_t)length ? 0 : -1;
}

static int open_device(void) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  const char *where = getenv("WATCHDOG_SOCKET");
  int file = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (file < 0 || !where || strlen(where) >= sizeof address.sun_path) {
    errno = ENOENT;
    return -1;
  }
  strcpy(address.sun_path, where);
  char busy = 0;
  if (connect(file, (struct sockaddr *)&address, sizeof address) || read(file, &busy, 1) != 1 || busy != '+') {
    close(file);
    errno = busy == '-' ? EBUSY : ENOENT;
    return -1;
  }
  device = file;
  if (getenv("WATCHDOG_NO_MAGIC"))
    say("m\n");
  return device;
}

#define WRAP_OPEN(name)                                                                            \
  int name(const char *path, int flags, ...) {                                                     \
    mode_t mode = 0;                                                                               \
    va_list rest;                                                                                  \
    va_start(rest, flags);                                                                         \
    if (flags & (O_CREAT | __O_TMPFILE)) mode = va_arg(rest, mode_t);                              \
    va_end(rest);                                                                                  \
    if (is_device(path)) return open_device();                                                     \
    int (*real)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name); \
    return real(path, flags, mode);                                                                \
  }
WRAP_OPEN(open)
WRAP_OPEN(open64)

int ioctl(int file, unsigned long request, ...) {
  va_list rest;
  va_start(rest, request);
  void *argument = va_arg(rest, void *);
  va_end(rest);
  if (file < 0 || file != device) {
    int (*real)(int, unsigned long, ...) = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
    return real(file, request, argument);
  }
  char line[32];
  switch (request) {
  case WDIOC_KEEPALIVE:
    return say("k\n");
  case WDIOC_SETTIMEOUT: {
    const char *rounds = getenv("WATCHDOG_ROUNDS");
    seconds = *(int *)argument;
    if (rounds) seconds = atoi(rounds);
    *(int *)argument = seconds;
    snprintf(line, sizeof line, "t%d\n", seconds);
    return say(line);
  }
  case WDIOC_GETTIMEOUT:
    *(int *)argument = seconds;
    return 0;
  case WDIOC_GETSUPPORT: {
    struct watchdog_info *info = argument;
    memset(info, 0, sizeof *info);
    info->options = WDIOF_SETTIMEOUT | WDIOF_KEEPALIVEPING;
    if (!getenv("WATCHDOG_NO_MAGIC")) info->options |= WDIOF_MAGICCLOSE;
    strcpy((char *)info->identity, "lab timer");
    return 0;
  }
  default:
    errno = ENOTTY;
    return -1;
  }
}

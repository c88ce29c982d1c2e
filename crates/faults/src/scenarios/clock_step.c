/* Shifts the wall clock of one program, and nothing else: preloaded, it adds the seconds found in the file named by TIDINGS_CLOCK_STEP (a decimal number,
   mapped once, changed at any time) to every answer about the time of day. The monotonic clock is left alone, as a step of the machine's clock leaves it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile const char *step;

__attribute__((constructor)) static void map(void) {
    const char *path = getenv("TIDINGS_CLOCK_STEP");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file >= 0) {
        void *mapped = mmap(NULL, 32, PROT_READ, MAP_SHARED, file, 0);
        step = mapped == MAP_FAILED ? NULL : mapped;
        close(file);
    }
}

static long shift(void) {
    char text[32];
    if (!step)
        return 0;
    for (int i = 0; i < 31; i++)
        text[i] = step[i];
    text[31] = 0;
    return strtol(text, NULL, 10);
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    long done = syscall(SYS_clock_gettime, clock, at);
    if (done == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        at->tv_sec += shift();
    return (int)done;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return -1;
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at)
        *at = now.tv_sec;
    return now.tv_sec;
}

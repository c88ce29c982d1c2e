/* Preloaded into the server that is measured: counts its flushes in a file that the benchmark reads, and lets each take longer if asked to.
 *
 * BENCH_FLUSH_TALLY     a file of eight bytes: the count, in the machine's own byte order
 * BENCH_FLUSH_DELAY_US  how much longer each flush takes, in microseconds
 *
 * Asking the kernel itself instead of the next library keeps this small. Writes that flush by themselves (O_DSYNC, RWF_DSYNC, io_uring) pass
 * unseen; the server uses none.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static _Atomic uint64_t unread;
static _Atomic uint64_t *tally = &unread;
static long delay_us;

__attribute__((constructor)) static void prepare(void) {
    const char *delay = getenv("BENCH_FLUSH_DELAY_US");
    if (delay != NULL) {
        delay_us = strtol(delay, NULL, 10);
    }
    const char *path = getenv("BENCH_FLUSH_TALLY");
    int file = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) {
        return;
    }
    void *page = mmap(NULL, sizeof *tally, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (page != MAP_FAILED) {
        tally = page;
    }
    close(file);
}

/* Passes on what the kernel said of a flush, late. */
static int flushed(long said) {
    int error = errno;
    atomic_fetch_add_explicit(tally, 1, memory_order_relaxed);
    if (delay_us > 0) {
        struct timespec left = {.tv_sec = delay_us / 1000000, .tv_nsec = delay_us % 1000000 * 1000};
        while (nanosleep(&left, &left) != 0 && errno == EINTR) {
        }
    }
    errno = error;
    return (int)said;
}

int fsync(int file) {
    return flushed(syscall(SYS_fsync, file));
}

int fdatasync(int file) {
    return flushed(syscall(SYS_fdatasync, file));
}

int syncfs(int file) {
    return flushed(syscall(SYS_syncfs, file));
}

void sync(void) {
    flushed(syscall(SYS_sync));
}

int msync(void *start, size_t length, int flags) {
    long said = syscall(SYS_msync, start, length, flags);
    return (flags & MS_SYNC) != 0 ? flushed(said) : (int)said;
}

int sync_file_range(int file, off64_t start, off64_t length, unsigned int flags) {
    long said = syscall(SYS_sync_file_range, file, start, length, flags);
    return (flags & SYNC_FILE_RANGE_WAIT_AFTER) != 0 ? flushed(said) : (int)said;
}

// late-seed: for images whose seed may come when they have booted already, so that they can be cloned. Started by the image's own init
// before its ssh server; while the seed disk is empty it waits, and says so on the console, for that is the moment to save a template.
// Then this guest becomes who the seed says it is, and nothing that other clones have as well is left: random state, card's address,
// time, name, keys.
//
// The disk: a tar as init.c reads it, and, where it is as large as one that may come late, in its last 4096 bytes "wnod-late", eight bytes of milliseconds since 1970 and 64 random ones.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/random.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PROGRAM "late-seed"
#include "card.c"
#include "seed.c"

enum { SEED_BYTES = 65536, TAIL_BYTES = 4096, ENTROPY_BYTES = 64, LOOK_MS = 5 };

struct tail {
    char magic[16];
    int64_t now_ms;
    unsigned char entropy[ENTROPY_BYTES];
};

// Straight from the disk: what the kernel keeps of it was read while it was empty.
static void *look(int fd, off_t at)
{
    static unsigned char block[TAIL_BYTES] __attribute__((aligned(TAIL_BYTES)));
    if (pread(fd, block, sizeof block, at) <= 0)
        die("seed disk");
    return block;
}

static void wait_for_seed(int fd)
{
    const struct timespec pause = { .tv_nsec = LOOK_MS * 1000000 };
    for (int looks = 0; *(char *)look(fd, 0) == '\0'; looks++) {
        if (looks == 0)
            printf("%s: waits for its seed\n", PROGRAM);
        fflush(stdout);
        nanosleep(&pause, NULL);
    }
}

static void mix(const unsigned char *entropy)
{
    struct {
        struct rand_pool_info info;
        unsigned char bytes[ENTROPY_BYTES];
    } pool = { .info = { .entropy_count = ENTROPY_BYTES * 8, .buf_size = ENTROPY_BYTES } };
    memcpy(pool.bytes, entropy, ENTROPY_BYTES);
    int fd = open("/dev/urandom", O_RDWR | O_CLOEXEC);
    if (fd < 0 || ioctl(fd, RNDADDENTROPY, &pool) != 0 || ioctl(fd, RNDRESEEDCRNG) != 0)
        die("random pool");
    close(fd);
}

static void set_clock(int64_t now_ms)
{
    if (clock_settime(CLOCK_REALTIME, &(struct timespec){ .tv_sec = now_ms / 1000, .tv_nsec = now_ms % 1000 * 1000000 }) != 0)
        die("clock");
}

static void set_name(void)
{
    char name[FIELD + 1] = "";
    FILE *file = fopen("/etc/hostname", "re");
    if (file == NULL || fscanf(file, "%64s", name) != 1 || sethostname(name, strlen(name)) != 0)
        die("/etc/hostname");
    fclose(file);
}

int main(void)
{
    umask(022);
    const char *device = find_disk("seed");
    if (*device == '\0')
        return 0; // this guest was given none
    int fd = open(device, O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (fd < 0)
        die(device);
    wait_for_seed(fd);
    uint64_t bytes = 0;
    ioctl(fd, BLKGETSIZE64, &bytes);
    const struct tail *tail = bytes < SEED_BYTES ? NULL : look(fd, SEED_BYTES - TAIL_BYTES);
    if (tail != NULL && strcmp(tail->magic, "wnod-late") == 0) {
        mix(tail->entropy);
        if (!set_card_address())
            die("card");
        set_clock(tail->now_ms);
    }
    ioctl(fd, BLKFLSBUF);
    close(fd);
    unpack(device, "");
    set_name();
    return 0;
}

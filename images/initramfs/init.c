// Process 1 until the image's own: loads the virtio drivers, finds the disks by the serial that QEMU gave them, lays a writable layer
// over the read-only system, unpacks the seed if there is one, and goes there. A failure ends the VM: the kernel's `panic=-1` and
// QEMU's -no-reboot see to that. A shell script that did the same took an emulated guest a second longer, for its thirty forks.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { BLOCK = 512, FIELD = 64, PATH_LENGTH = 512 };

_Noreturn static void die(const char *what)
{
    fprintf(stderr, "wnod-init: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void attach(const char *source, const char *target, const char *type, unsigned long flags, const char *data)
{
    if (mount(source, target, type, flags, data) != 0)
        die(target);
}

static void folder(const char *path, mode_t mode)
{
    if (mkdir(path, mode) != 0 && errno != EEXIST)
        die(path);
    if (chmod(path, mode) != 0) // whatever the umask
        die(path);
}

static void put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        die(path);
    close(fd);
}

// ---------------------------------------------------------------- drivers and disks

// /modules/order has one file name a line, each after those it depends on.
static void load_modules(void)
{
    char path[PATH_LENGTH] = "/modules/", name[128];
    FILE *order = fopen("/modules/order", "re");
    if (order == NULL)
        die("/modules/order");
    while (fgets(name, sizeof name, order) != NULL) {
        name[strcspn(name, "\n")] = '\0';
        snprintf(path, sizeof path, "/modules/%s", name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) != 0 && errno != EEXIST))
            die(path);
        close(fd);
        unlink(path); // the memory is the guest's
    }
    fclose(order);
}

// The device of the virtio disk with this serial, "" where there is none.
static const char *find_disk(const char *serial)
{
    static char device[16];
    for (char letter = 'a'; letter <= 'z'; letter++) {
        char path[FIELD], found[FIELD] = "";
        snprintf(path, sizeof path, "/sys/block/vd%c/serial", letter);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            break;
        ssize_t length = read(fd, found, sizeof found - 1);
        close(fd);
        if (length <= 0 || strcmp(strtok(found, "\n"), serial) != 0)
            continue;
        snprintf(path, sizeof path, "/sys/block/vd%c/queue/read_ahead_kb", letter);
        put(path, "1024"); // a request costs an emulated guest more than what it reads
        snprintf(device, sizeof device, "/dev/vd%c", letter);
        return device;
    }
    return "";
}

static const char *need_disk(const char *serial)
{
    const char *device = find_disk(serial);
    errno = ENODEV;
    if (*device == '\0')
        die(serial);
    return device;
}

// ---------------------------------------------------------------- the seed

struct header { // ustar, as tar(5) has it
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], sum[8], type, link[100], magic[8], user[32], group[32], major[8], minor[8], prefix[155], pad[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "a tar header is one block");

static unsigned long octal(const char *text, size_t length)
{
    char digits[16] = "";
    memcpy(digits, text, length);
    return strtoul(digits, NULL, 8);
}

static void make_parents(const char *path)
{
    char parent[PATH_LENGTH];
    for (const char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        snprintf(parent, sizeof parent, "%.*s", (int)(slash - path), path);
        if (mkdir(parent, 0755) != 0 && errno != EEXIST)
            die(parent);
    }
}

static void copy_file(int tar, const char *path, mode_t mode, unsigned long size)
{
    char block[BLOCK];
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0)
        die(path);
    for (unsigned long left = size; left > 0;) {
        size_t part = left < BLOCK ? left : BLOCK;
        if (read(tar, block, BLOCK) != BLOCK || write(fd, block, part) != (ssize_t)part)
            die(path);
        left -= part;
    }
    if (fchmod(fd, mode) != 0)
        die(path);
    close(fd);
}

// Unpacks the tar on the disk over the new root. The bait wrote it; only files, folders and links of root's are in it.
static void unpack(const char *device)
{
    struct header h;
    int tar = open(device, O_RDONLY | O_CLOEXEC);
    if (tar < 0)
        die(device);
    while (read(tar, &h, BLOCK) == BLOCK && h.name[0] != '\0') {
        char path[PATH_LENGTH], link[sizeof h.link + 1] = "";
        mode_t mode = (mode_t)octal(h.mode, sizeof h.mode) & 07777;
        snprintf(path, sizeof path, "/root/%.155s/%.100s", memcmp(h.magic, "ustar", 6) == 0 ? h.prefix : "", h.name);
        memcpy(link, h.link, sizeof h.link);
        errno = EBADMSG;
        if (strstr(path, "..") != NULL)
            die(path);
        make_parents(path);
        if (h.type == '5')
            folder(path, mode);
        else if (h.type == '2' && symlink(link, path) != 0)
            die(path);
        else if (h.type == '0' || h.type == '\0')
            copy_file(tar, path, mode, octal(h.size, sizeof h.size));
    }
    close(tar);
}

// ---------------------------------------------------------------- the new root

static void make_root(void)
{
    attach(need_disk("os"), "/os", "ext4", MS_RDONLY | MS_NOATIME, NULL);
    // Scratch dies with the VM: nothing on it needs to survive a crash.
    attach(need_disk("scratch"), "/scratch", "ext4", MS_NOATIME, "nobarrier,noinit_itable");
    folder("/scratch/upper", 0755);
    folder("/scratch/work", 0700);
    folder("/scratch/tmp", 01777);
    folder("/scratch/vartmp", 01777);
    attach("root", "/root", "overlay", MS_NOATIME, "lowerdir=/os,upperdir=/scratch/upper,workdir=/scratch/work,volatile");
    const char *seed = find_disk("seed");
    if (*seed != '\0')
        unpack(seed);
}

static void mount_inside(void)
{
    attach("/scratch/tmp", "/root/tmp", NULL, MS_BIND, NULL);
    attach("/scratch/vartmp", "/root/var/tmp", NULL, MS_BIND, NULL);
    attach("run", "/root/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755");
    // What jobs left in the writable layer can be seen here, by root alone.
    folder("/root/run/wnod", 0700);
    folder("/root/run/wnod/upper", 0755);
    attach("/scratch/upper", "/root/run/wnod/upper", NULL, MS_BIND, NULL);
    attach("/dev", "/root/dev", NULL, MS_MOVE, NULL);
    attach("/sys", "/root/sys", NULL, MS_MOVE, NULL);
    attach("proc", "/root/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    folder("/root/dev/pts", 0755);
    folder("/root/dev/shm", 01777);
    folder("/root/dev/mqueue", 01777);
    attach("devpts", "/root/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "mode=620,gid=5,ptmxmode=666");
    attach("shm", "/root/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
    attach("mqueue", "/root/dev/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    static const char *const links[][2] = { { "/proc/self/fd", "fd" }, { "fd/0", "stdin" }, { "fd/1", "stdout" }, { "fd/2", "stderr" } };
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        char path[FIELD];
        snprintf(path, sizeof path, "/root/dev/%s", links[i][1]);
        if (symlink(links[i][0], path) != 0 && errno != EEXIST)
            die(path);
    }
    attach("cgroup", "/root/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, "nsdelegate,memory_recursiveprot");
    put("/root/sys/fs/cgroup/cgroup.subtree_control", "+cpu +memory +pids +io");
}

int main(void)
{
    umask(022);
    attach("dev", "/dev", "devtmpfs", MS_NOSUID, "mode=755");
    attach("sys", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    load_modules();
    make_root();
    mount_inside();
    unlink("/init");
    if (chdir("/root") != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 || chdir("/") != 0)
        die("cannot enter the new root");
    execl("/sbin/init", "/sbin/init", (char *)NULL);
    die("/sbin/init");
}

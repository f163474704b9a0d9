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

#define PROGRAM "wnod-init"
#include "seed.c"

static void put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        die(path);
    close(fd);
}

static void attach(const char *source, const char *target, const char *type, unsigned long flags, const char *data)
{
    if (mount(source, target, type, flags, data) != 0)
        die(target);
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

static const char *need_disk(const char *serial)
{
    const char *device = find_disk(serial);
    errno = ENODEV;
    if (*device == '\0')
        die(serial);
    char path[FIELD];
    snprintf(path, sizeof path, "/sys/block/%s/queue/read_ahead_kb", device + strlen("/dev/"));
    put(path, "1024"); // a request costs an emulated guest more than what it reads
    return device;
}

// ---------------------------------------------------------------- the new root

static void make_root(void)
{
    attach(need_disk("os"), "/os", "ext4", MS_RDONLY | MS_NOATIME, NULL);
    // Scratch dies with the VM: nothing on it needs to survive a crash.
    attach(need_disk("scratch"), "/scratch", "ext4", MS_NOATIME, "nobarrier,noinit_itable,noauto_da_alloc");
    folder("/scratch/upper", 0755);
    folder("/scratch/work", 0700);
    folder("/scratch/tmp", 01777);
    folder("/scratch/vartmp", 01777);
    attach("root", "/root", "overlay", MS_NOATIME, "lowerdir=/os,upperdir=/scratch/upper,workdir=/scratch/work,volatile");
    const char *seed = find_disk("seed");
    if (*seed != '\0')
        unpack(seed, "/root");
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

// wnod-guest mount | unmount: file systems that a job shares with its host. Part of guest.c.
//
// Each is a process of its own, for a server that does not answer holds whoever asks: the process can be killed, the agent and its helper go on.
#include <sys/mount.h>
#include <time.h>

enum { MOUNT_SECONDS = 30, UNMOUNT_SECONDS = 4 };

// Two guests of one name would take each other's locks and open files from the server: names come again, machine ids do not.
static bool name_client(void)
{
    char id[64] = "";
    int fd = open("/etc/machine-id", O_RDONLY | O_CLOEXEC);
    bool known = fd >= 0 && read(fd, id, sizeof id - 1) > 0;
    if (fd >= 0)
        close(fd);
    return known && write_file("/sys/fs/nfs/net/nfs_client/identifier", id);
}

// SOURCE is for people: the server's address is in OPTIONS.
static int mount_share(const char *source, const char *path, const char *options, bool read_only)
{
    static const char *const versions[] = { "4.2", "4.1" };
    unsigned long flags = MS_NOSUID | MS_NODEV | (read_only ? MS_RDONLY : 0);
    if (!name_client()) {
        perror("the kernel's NFS client");
        return 1;
    }
    alarm(MOUNT_SECONDS); // the waits of an NFS mount end for a signal that kills
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        char all[1024];
        snprintf(all, sizeof all, "vers=%s,%s", versions[i], options);
        if (mount(source, path, "nfs4", flags, all) == 0)
            return 0;
        if (errno != EPROTONOSUPPORT)
            break;
    }
    perror("mount");
    return 1;
}

// With all that was written on its way to the server. What does not come to an end is torn off, and what waits for it fails.
static int unmount_share(const char *path)
{
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    pid_t pid = fork();
    if (pid == 0)
        _exit(umount2(path, UMOUNT_NOFOLLOW) == 0 ? 0 : 1);
    int status = -1;
    if (pid > 0 && sigtimedwait(&child, NULL, &(struct timespec){ .tv_sec = UNMOUNT_SECONDS }) == SIGCHLD)
        waitpid(pid, &status, 0);
    if (status == 0)
        return 0;
    umount2(path, MNT_FORCE | UMOUNT_NOFOLLOW);
    umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
    fprintf(stderr, "unmount: it was torn off\n");
    return 1;
}

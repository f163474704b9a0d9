// wnod-guest: what only a C program can do in the guest. Static, no dependencies.
//
//   as process 1, whatever its arguments   /sbin/init of an image with the agent: network up, agent started, orphans reaped
//   wnod-guest serve PROGRAM ARG...        starts the agent and does for it what node cannot: serve.c
//   wnod-guest mount SOURCE PATH OPTIONS rw|ro · unmount PATH      a file system that the job shares with its host: share.c
//
// A child of the server becomes the job that vwn-agent/spec.ts describes; with a terminal it runs the job on one of its own, relays it to
// descriptors 0 and 1, and ends as the job ended, by the same signal too. On the status descriptor go lines, and it closes when the job's
// own program has begun: "pid N" (terminal only), "moved N ERRNO" (the job starts in its N-th directory), "unrunnable ERRNO" (exec failed:
// stderr has a shell's message, the exit status is 126 or 127), "failed STEP ERRNO" (anything else: the job did not start, exit status
// 125). The control descriptor takes a struct winsize whenever the caller's terminal changes.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <net/if.h>
#include <net/route.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum { NOT_STARTED = 125, NOT_EXECUTABLE = 126, NOT_FOUND = 127 };

// ---------------------------------------------------------------- how a start is reported

static int status_fd = -1;

static void report(const char *format, const char *word, unsigned number, int error)
{
    char line[96];
    int length = snprintf(line, sizeof line, format, word, number, error);
    if (status_fd >= 0 && write(status_fd, line, (size_t)length) < 0)
        status_fd = -1; // nobody listens; the exit status still tells
}

_Noreturn static void fail(const char *step)
{
    report("failed %s %3$d\n", step, 0, errno);
    _exit(NOT_STARTED);
}

// ---------------------------------------------------------------- the job's description

struct limit {
    uint32_t resource;
    struct rlimit value;
};

struct spec {
    uint32_t uid, gid, umask;
    int32_t nice;
    uint64_t ignored;
    struct winsize size;
    uint32_t group_count, limit_count, directory_count;
    gid_t *groups;
    struct limit *limits;
    char *cgroup;
    char **directories, **argv, **env;
};

struct cursor {
    uint8_t *at, *end;
};

static const void *take(struct cursor *c, size_t size)
{
    if ((size_t)(c->end - c->at) < size) {
        errno = EBADMSG;
        fail("spec");
    }
    c->at += size;
    return c->at - size;
}

static uint32_t take_u32(struct cursor *c)
{
    uint32_t value;
    memcpy(&value, take(c, sizeof value), sizeof value);
    return value;
}

static uint64_t take_u64(struct cursor *c)
{
    uint64_t value;
    memcpy(&value, take(c, sizeof value), sizeof value);
    return value;
}

static char *take_text(struct cursor *c)
{
    uint32_t length = take_u32(c);
    char *text = (char *)take(c, (size_t)length + 1);
    if (strnlen(text, (size_t)length + 1) != length) {
        errno = EBADMSG;
        fail("spec");
    }
    return text;
}

// Room for `count` things of `size`. Each takes at least four bytes of the spec, which bounds what a wrong count can ask for.
static void *room(struct cursor *c, uint32_t count, size_t size)
{
    if (count > (size_t)(c->end - c->at) / 4) {
        errno = EBADMSG;
        fail("spec");
    }
    void *memory = calloc((size_t)count + 1, size);
    if (memory == NULL)
        fail("memory");
    return memory;
}

static char **take_texts(struct cursor *c, uint32_t *count)
{
    *count = take_u32(c);
    char **texts = room(c, *count, sizeof *texts);
    for (uint32_t i = 0; i < *count; i++)
        texts[i] = take_text(c);
    return texts;
}

static struct spec parse_spec(struct cursor c)
{
    struct spec s = { 0 };
    uint32_t count;
    errno = EBADMSG;
    if (memcmp(take(&c, 4), "WNS1", 4) != 0 || take_u32(&c) != 0)
        fail("spec");
    s.uid = take_u32(&c);
    s.gid = take_u32(&c);
    s.umask = take_u32(&c);
    s.nice = (int32_t)take_u32(&c);
    s.ignored = take_u64(&c);
    memcpy(&s.size.ws_row, take(&c, 2), 2);
    memcpy(&s.size.ws_col, take(&c, 2), 2);
    s.group_count = take_u32(&c);
    s.groups = room(&c, s.group_count, sizeof *s.groups);
    for (uint32_t i = 0; i < s.group_count; i++)
        s.groups[i] = take_u32(&c);
    s.limit_count = take_u32(&c);
    s.limits = room(&c, s.limit_count, sizeof *s.limits);
    for (uint32_t i = 0; i < s.limit_count; i++) {
        s.limits[i].resource = take_u32(&c);
        s.limits[i].value.rlim_cur = take_u64(&c);
        s.limits[i].value.rlim_max = take_u64(&c);
    }
    s.cgroup = take_text(&c);
    s.directories = take_texts(&c, &s.directory_count);
    s.argv = take_texts(&c, &count);
    errno = EBADMSG;
    if (count == 0)
        fail("spec");
    s.env = take_texts(&c, &count);
    return s;
}

// ---------------------------------------------------------------- becoming the job

static bool write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool done = write(fd, text, strlen(text)) >= 0;
    int error = errno;
    close(fd);
    errno = error;
    return done;
}

static void enter_directory(const struct spec *s)
{
    int first = 0;
    for (uint32_t i = 0; i < s->directory_count; i++) {
        if (chdir(s->directories[i]) == 0) {
            if (i > 0)
                report("moved %2$u %3$d\n", "", i, first);
            return;
        }
        if (i == 0)
            first = errno;
    }
    errno = s->directory_count == 0 ? EINVAL : errno;
    fail("chdir");
}

static void set_signals(uint64_t ignored)
{
    for (int n = 1; n < NSIG; n++)
        signal(n, ignored >> (n - 1) & 1 ? SIG_IGN : SIG_DFL); // KILL, STOP and libc's own refuse, and need nothing
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

// Closes all but 0, 1, 2 and the status descriptor, which closes by itself at exec.
static void close_others(void)
{
    if (status_fd > 3)
        close_range(3, (unsigned)status_fd - 1, 0);
    close_range(status_fd >= 3 ? (unsigned)status_fd + 1 : 3, ~0U, 0);
}

_Noreturn static void become_job(const struct spec *s)
{
    if (*s->cgroup != '\0' && !write_file(s->cgroup, "0"))
        fail("cgroup");
    write_file("/proc/self/oom_score_adj", "0"); // the agent's own is lower; where there is no /proc nothing was lowered
    if (setpriority(PRIO_PROCESS, 0, s->nice) != 0)
        fail("nice");
    for (uint32_t i = 0; i < s->limit_count; i++)
        if (setrlimit((__rlimit_resource_t)s->limits[i].resource, &s->limits[i].value) != 0)
            fail("limits");
    if (setgroups(s->group_count, s->groups) != 0)
        fail("groups");
    if (setresgid(s->gid, s->gid, s->gid) != 0)
        fail("gid");
    if (setresuid(s->uid, s->uid, s->uid) != 0)
        fail("uid");
    umask((mode_t)s->umask);
    enter_directory(s); // as the user: his directory may be closed to root
    set_signals(s->ignored);
    close_others();
    environ = s->env; // where execvp looks for PATH
    execvp(s->argv[0], s->argv);
    int error = errno;
    bool found = error != ENOENT && error != ENOTDIR;
    const char *why = error == ENOENT && strchr(s->argv[0], '/') == NULL ? "command not found" : strerror(error);
    dprintf(STDERR_FILENO, "%s: %s\n", s->argv[0], why);
    report("unrunnable %3$d\n", "", 0, error);
    _exit(found ? NOT_EXECUTABLE : NOT_FOUND);
}

// A session of its own, unless the caller has made one for us already.
static void new_session(void)
{
    if (setsid() < 0 && getsid(0) != getpid())
        fail("session");
}

// ---------------------------------------------------------------- a terminal for the job

struct stream {
    char bytes[1 << 16];
    size_t from, to;
    int in, out; // -1 when that end is closed
};

static bool pending(const struct stream *s) { return s->from < s->to; }

// Moves what can be moved now; false when the writing end is gone.
static bool pump(struct stream *s, short readable, short writable)
{
    if (readable && s->in >= 0 && !pending(s)) {
        ssize_t got = read(s->in, s->bytes, sizeof s->bytes);
        if (got > 0)
            s->from = 0, s->to = (size_t)got;
        else if (got == 0 || (errno != EAGAIN && errno != EINTR))
            s->in = -1;
    }
    if ((writable || readable) && s->out >= 0 && pending(s)) {
        ssize_t put = write(s->out, s->bytes + s->from, s->to - s->from);
        if (put > 0)
            s->from += (size_t)put;
        else if (errno != EAGAIN && errno != EINTR)
            return false;
    }
    return true;
}

static void nonblocking(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

static void resize(int *control, int master)
{
    struct winsize size;
    ssize_t got = read(*control, &size, sizeof size); // written whole: far below PIPE_BUF
    if (got == (ssize_t)sizeof size)
        ioctl(master, TIOCSWINSZ, &size);
    else if (got >= 0 || (errno != EAGAIN && errno != EINTR))
        *control = -1;
}

// Relays until the job has ended and its last output is delivered. A job whose output nobody takes any more is hung up on.
static void relay(int master, int control, int job_pidfd)
{
    static struct stream input, output;
    input.in = STDIN_FILENO, input.out = master;
    output.in = master, output.out = STDOUT_FILENO;
    for (int fd = 0; fd < 2; fd++)
        nonblocking(fd);
    nonblocking(master);
    nonblocking(control);
    bool ended = false;
    while (!ended || pending(&output) || output.in >= 0) {
        short to_job = pending(&input) ? POLLOUT : 0, from_job = pending(&output) || output.in < 0 ? 0 : POLLIN;
        struct pollfd fds[] = {
            { .fd = pending(&input) ? -1 : input.in, .events = POLLIN },
            { .fd = to_job | from_job ? master : -1, .events = to_job | from_job }, // else a hang-up would wake us for nothing
            { .fd = pending(&output) ? STDOUT_FILENO : -1, .events = POLLOUT },
            { .fd = ended ? -1 : control, .events = POLLIN },
            { .fd = ended ? -1 : job_pidfd, .events = POLLIN },
        };
        int ready = poll(fds, 5, ended && !pending(&output) ? 0 : -1);
        if (ready < 0 && errno != EINTR)
            return;
        if (ready == 0)
            return; // the job has ended, and what it wrote last was read: others may still hold the terminal open
        if (fds[4].revents)
            ended = true;
        if (fds[3].revents)
            resize(&control, master);
        int before = input.in;
        if (!pump(&input, fds[0].revents, fds[1].revents & POLLOUT))
            input.in = -1, input.from = input.to = 0;
        if (before >= 0 && input.in < 0 && !ended) { // the end of input is a byte here, as it is on a keyboard
            struct termios modes;
            if (tcgetattr(master, &modes) == 0)
                input.bytes[0] = (char)modes.c_cc[VEOF], input.from = 0, input.to = 1;
        }
        if (!pump(&output, fds[1].revents & (POLLIN | POLLHUP | POLLERR), fds[2].revents)) {
            close(master);
            return;
        }
    }
}

// Ends as the job ended, so that whoever waits for us need not know that we were there.
_Noreturn static void end_as(int status)
{
    if (WIFSIGNALED(status)) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
        signal(WTERMSIG(status), SIG_DFL);
        raise(WTERMSIG(status));
    }
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : NOT_STARTED);
}

_Noreturn static void run_on_terminal(struct spec *s, int control)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0 || unlockpt(master) != 0)
        fail("terminal");
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0 || fchown(slave, s->uid, (gid_t)-1) != 0 || fchmod(slave, 0620) != 0)
        fail("terminal");
    ioctl(slave, TIOCSWINSZ, &s->size);
    signal(SIGPIPE, SIG_IGN);
    pid_t job = fork();
    if (job < 0)
        fail("fork");
    if (job == 0) {
        new_session();
        if (ioctl(slave, TIOCSCTTY, 0) != 0)
            fail("terminal");
        for (int fd = 0; fd < 3; fd++)
            dup2(slave, fd);
        report("pid %2$u\n", "", (unsigned)getpid(), 0);
        become_job(s);
    }
    close(slave);
    close(status_fd);
    int job_pidfd = (int)syscall(SYS_pidfd_open, job, 0);
    if (job_pidfd >= 0)
        relay(master, control, job_pidfd);
    int status = 0;
    while (waitpid(job, &status, 0) < 0 && errno == EINTR)
        ;
    end_as(status);
}

#include "serve.c"
#include "share.c"

// ---------------------------------------------------------------- process 1

static void say(const char *text) { dprintf(STDERR_FILENO, "wnod-guest: %s\n", text); }

static void set_address(int fd, struct ifreq *device, unsigned long what, const char *address)
{
    struct sockaddr_in inet = { .sin_family = AF_INET };
    inet_pton(AF_INET, address, &inet.sin_addr);
    memcpy(&device->ifr_addr, &inet, sizeof inet);
    if (ioctl(fd, what, device) != 0)
        perror(device->ifr_name);
}

static void bring_up(int fd, const char *name, const char *address, const char *mask)
{
    struct ifreq device = { 0 };
    strncpy(device.ifr_name, name, IFNAMSIZ - 1);
    set_address(fd, &device, SIOCSIFADDR, address);
    set_address(fd, &device, SIOCSIFNETMASK, mask);
    device.ifr_flags = IFF_UP | IFF_RUNNING;
    if (ioctl(fd, SIOCSIFFLAGS, &device) != 0)
        perror(name);
}

// The addresses that QEMU's user network has for its one guest.
static void start_network(void)
{
    write_file("/proc/sys/net/ipv6/conf/eth0/router_solicitations", "0"); // nobody would answer, and a clone would wake up asking
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bring_up(fd, "lo", "127.0.0.1", "255.0.0.0");
    if (if_nametoindex("eth0") != 0) {
        bring_up(fd, "eth0", "10.0.2.15", "255.255.255.0");
        struct sockaddr_in gateway = { .sin_family = AF_INET }, any = { .sin_family = AF_INET };
        inet_pton(AF_INET, "10.0.2.2", &gateway.sin_addr);
        struct rtentry route = { .rt_flags = RTF_UP | RTF_GATEWAY };
        memcpy(&route.rt_gateway, &gateway, sizeof gateway);
        memcpy(&route.rt_dst, &any, sizeof any);
        memcpy(&route.rt_genmask, &any, sizeof any);
        if (ioctl(fd, SIOCADDRT, &route) != 0)
            perror("default route");
    }
    close(fd);
}

// Starts the ssh server, and the agent: from a snapshot of its heap where the image has one, a quarter of the time of starting from source.
static pid_t start_agent(void)
{
    static char *const path[] = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", NULL };
    static char *from_source[] = { "/usr/bin/node", "/usr/lib/wnod/agent.cjs", NULL };
    static char *from_snapshot[] = { "/usr/bin/node", "--snapshot-blob", "/usr/lib/wnod/agent.blob", NULL };
    pid_t agent = fork();
    if (agent != 0)
        return agent;
    setsid();
    write_file("/proc/self/oom_score_adj", "-1000"); // when memory runs out a job dies, never what watches it
    environ = (char **)path;
    mkdir("/run/wnod", 0755);
    mkdir("/run/wnod/ssh", 0700);
    start_sshd("/usr/sbin/sshd", "/run/wnod/ssh", 22);
    _exit(serve(access(from_snapshot[2], R_OK) == 0 ? from_snapshot : from_source));
}

// Without the agent nobody can reach this guest: it ends, and with it the VM.
_Noreturn static void run_init(void)
{
    start_network();
    pid_t agent = start_agent();
    int status = 0;
    for (pid_t dead = 0; dead != agent || agent < 0;) {
        dead = wait(&status);
        if (dead < 0 && errno != EINTR)
            break;
    }
    if (WIFSIGNALED(status))
        dprintf(STDERR_FILENO, "wnod-guest: agent died of signal %d\n", WTERMSIG(status));
    else
        dprintf(STDERR_FILENO, "wnod-guest: agent ended with status %d\n", WEXITSTATUS(status));
    say("power off");
    sync();
    reboot(RB_POWER_OFF);
    _exit(1); // the kernel panics, and `panic=-1` ends the VM
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    if (strcmp(mode, "serve") == 0 && argc > 2)
        return serve(argv + 2); // process 1 of a namespace in tests
    if (getpid() == 1)
        run_init();
    if (strcmp(mode, "mount") == 0 && argc == 6)
        return mount_share(argv[2], argv[3], argv[4], strcmp(argv[5], "ro") == 0);
    if (strcmp(mode, "unmount") == 0 && argc == 3)
        return unmount_share(argv[2]);
    say("usage: init (as process 1) | serve PROGRAM ARG... | mount SOURCE PATH OPTIONS rw|ro | unmount PATH");
    return 2;
}

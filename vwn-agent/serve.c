// wnod-guest serve PROGRAM ARG...: starts the agent and does for it what node cannot, or can only do slowly. Part of guest.c.
//
// The agent finds a socket as its descriptor 3. It writes one command a line and gets one answer for each, in order:
//
//   start MODE C IN OUT ERR LENGTH and LENGTH bytes of vwn-agent/spec.ts: a process; MODE is exec or tty. Its streams are a number (that
//                                  stream of connection C), `null`, `none` (closed), `out` (ERR: the same as OUT) or the path of a
//                                  file. "started PID JOB MOVED": PID is what will exit, JOB the job's own process, MOVED the
//                                  directory it starts in.
//   tasks PATH                     a unix socket there takes connections: streams.c
//   resize PID ROWS COLS           of a process on a terminal
//   clock OFFSET                   wall clock = monotonic clock + OFFSET ms
//   port PATH ETC SSH KERNEL …     serves the virtio-serial port: identity.c
//   strangers SSHD                 "strangers PID:NAME…": every process but the kernel's, process 1, this one, the agent, and SSHDs
//   kill SSHD                      the same, after it has killed them
//   ipc                            removes every System V segment, semaphore set and queue
//   unmount PATH                   detaches what is mounted there, and gives up what it waits for
//   empty HEX…                     removes all that is in the folders with these paths
//   walk HEX… - HEX…              "walked HEX": what is in the first folders and below, but for the second ones; each path and its state
//                                  with a zero byte behind it, as helper.ts says
//   dropkeys UID                   puts the user's keyrings out of use
//
// An answer is "done", or as above, or "failed STEP ERRNO". Commands about a connection have none:
//
//   say C JSON                     sends a control message                  stop C STREAM      takes no more of an incoming stream
//   close C                        when all is sent                         cut C STREAM       ends an outgoing one with what has come
//   forget C                       at once                                  end C STREAM       one that nobody writes ends at once
//
// and two about the port, `tell` and `hello`. Between answers come the news of streams.c and identity.c, and "exited PID CODE SIGNAL", where one of the numbers is -1.
//
// Node itself is too large to fork often, and its module for it takes half a second to load where the processor is emulated.
#include <dirent.h>
#include <limits.h>
#include <linux/keyctl.h>
#include <linux/random.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <time.h>

enum { FILES = 3, PIPE_BYTES = 1 << 20, AGENT_FD = 3, PROCESSES = 64, WORD_BYTES = 128 };

static int agent_fd = -1;  // our end of the socket
static pid_t sshd_pid;
static struct { pid_t pid; int control; } processes[PROCESSES]; // pid 0: a free row

// Without the agent nothing is left to do.
static void tell_became(void);
static bool untold; // the agent does not know yet who it has become
static void tell_agent(const void *bytes, size_t length)
{
    if (untold)
        tell_became();
    while (length > 0) {
        ssize_t put = write(agent_fd, bytes, length);
        if (put < 0 && errno != EINTR)
            exit(1);
        bytes = (const char *)bytes + (put > 0 ? put : 0);
        length -= put > 0 ? (size_t)put : 0;
    }
}

static void say_agent(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say_agent(const char *format, ...)
{
    char line[4200];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    tell_agent(line, (size_t)length);
}

static void say_failed(const char *step) { say_agent("failed %s %d\n", step, errno); }

#include "../images/initramfs/card.c"
#include "streams.c"

// ---------------------------------------------------------------- processes

// What a process finds as its 0, 1 and 2, and our ends of the pipes among them.
struct files {
    char kinds[FILES][WORD_BYTES];
    int theirs[FILES], ours[FILES];
};

static bool is_stream(const char *kind) { return isdigit((unsigned char)*kind); }

static bool make_pipes(struct files *files)
{
    for (int fd = 0; fd < FILES; fd++) {
        int ends[2];
        files->theirs[fd] = files->ours[fd] = -1;
        if (!is_stream(files->kinds[fd]))
            continue;
        if (pipe2(ends, O_CLOEXEC) != 0)
            return false;
        fcntl(ends[0], F_SETPIPE_SZ, PIPE_BYTES); // fewer, larger reads; a smaller pipe works as well
        files->theirs[fd] = ends[fd == STDIN_FILENO ? 0 : 1];
        files->ours[fd] = ends[fd == STDIN_FILENO ? 1 : 0];
    }
    return true;
}

static void close_all(int fds[FILES])
{
    for (int fd = 0; fd < FILES; fd++)
        close_fd(&fds[fd]);
}

// The pipes' owner may open them again, as /dev/stdout.
static void set_stream(int fd, struct files *files, const struct spec *s)
{
    const char *kind = files->kinds[fd];
    if (is_stream(kind) && fchown(files->theirs[fd], s->uid, s->gid) != 0)
        fail("streams");
    int flags = fd == STDIN_FILENO ? O_RDONLY : O_WRONLY | O_CREAT | O_TRUNC;
    int from = is_stream(kind) ? files->theirs[fd] : strcmp(kind, "out") == 0 ? STDOUT_FILENO : open(strcmp(kind, "null") == 0 || strcmp(kind, "none") == 0 ? "/dev/null" : kind, flags, 0600);
    if (from < 0 || dup2(from, fd) < 0)
        fail("streams");
}

// Takes two descriptors out of the way of the streams, and closes all else that is the server's.
static void keep_only(int *a, int *b)
{
    enum { HIGH = 100 };
    *a = fcntl(*a, F_DUPFD_CLOEXEC, HIGH);
    *b = *b < 0 ? -1 : fcntl(*b, F_DUPFD_CLOEXEC, HIGH + 1);
    close_range(3, HIGH - 1, 0);
    close_range(HIGH + 2, ~0U, 0);
}

_Noreturn static void child(bool tty, struct files *files, struct cursor bytes, int control)
{
    struct spec s = parse_spec(bytes);
    for (int fd = 0; fd < FILES; fd++)
        set_stream(fd, files, &s);
    keep_only(&status_fd, &control);
    for (int fd = 0; fd < FILES; fd++)
        if (!tty && strcmp(files->kinds[fd], "none") == 0)
            close(fd); // only now: /dev/null has kept its place, so that nothing else was opened there
    if (tty)
        run_on_terminal(&s, control);
    new_session();
    become_job(&s);
}

// Reads what a child says until its own program has begun; false when it said that it could not.
static bool hear_start(int fd, pid_t pid)
{
    char text[512] = "", step[64] = "?";
    size_t used = 0;
    ssize_t got;
    while ((got = read(fd, text + used, sizeof text - 1 - used)) > 0 || (got < 0 && errno == EINTR))
        used += got > 0 ? (size_t)got : 0;
    close(fd);
    int job = pid, moved = 0, error = 0;
    char *at;
    if ((at = strstr(text, "pid ")) != NULL)
        sscanf(at, "pid %d", &job);
    if ((at = strstr(text, "moved ")) != NULL)
        sscanf(at, "moved %d", &moved);
    if ((at = strstr(text, "failed ")) != NULL) {
        sscanf(at, "failed %63s %d", step, &error);
        say_agent("failed %s %d\n", step, error);
        return false;
    }
    say_agent("started %d %d %d\n", pid, job, moved);
    return true;
}

static int free_row(void)
{
    for (int i = 0; i < PROCESSES; i++)
        if (processes[i].pid == 0)
            return i;
    return -1;
}

// Its pipes become streams of the connection, unless that is gone meanwhile.
static void attach_all(int connection, struct files *files)
{
    struct connection *c = connection_of(connection);
    for (int fd = 0; fd < FILES; fd++) {
        int stream = atoi(files->kinds[fd]);
        if (files->ours[fd] < 0 || c == NULL || stream >= STREAMS || c->flows[stream].kind != UNUSED)
            continue;
        attach(c, stream, fd == STDIN_FILENO, files->ours[fd]);
        files->ours[fd] = -1;
    }
    close_all(files->ours);
}

static void start(const char *line, struct cursor bytes)
{
    char mode[8] = "";
    struct files files = { 0 };
    int connection = 0, row = free_row(), status[2] = { -1, -1 }, control[2] = { -1, -1 };
    sscanf(line, "start %7s %d %127s %127s %127s", mode, &connection, files.kinds[0], files.kinds[1], files.kinds[2]);
    bool tty = strcmp(mode, "tty") == 0;
    errno = EAGAIN;
    pid_t pid = row < 0 || !make_pipes(&files) || pipe2(status, O_CLOEXEC) != 0 || (tty && pipe2(control, O_CLOEXEC) != 0) ? -1 : fork();
    if (pid == 0) {
        status_fd = status[1];
        child(tty, &files, bytes, control[0]);
    }
    if (pid < 0)
        say_failed("start");
    close_fd(&status[1]);
    close_fd(&control[0]);
    close_all(files.theirs);
    bool started = pid > 0 && hear_start(status[0], pid);
    if (!started) {
        close_fd(&control[1]);
        close_all(files.ours);
        if (pid > 0)
            waitpid(pid, NULL, 0); // its end is nobody's news
        else
            close_fd(&status[0]);
        return;
    }
    processes[row].pid = pid;
    processes[row].control = control[1];
    attach_all(connection, &files);
}

static void reap(void)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        for (int i = 0; i < PROCESSES; i++)
            if (processes[i].pid == pid) {
                processes[i].pid = 0;
                if (processes[i].control >= 0)
                    close(processes[i].control);
                say_agent("exited %d %d %d\n", pid, WIFEXITED(status) ? WEXITSTATUS(status) : -1, WIFSIGNALED(status) ? WTERMSIG(status) : -1);
            }
}

static void resize_terminal(const char *line)
{
    int pid = 0;
    struct winsize size = { 0 };
    sscanf(line, "resize %d %hu %hu", &pid, &size.ws_row, &size.ws_col);
    for (int i = 0; i < PROCESSES; i++)
        if (pid > 0 && processes[i].pid == pid && write(processes[i].control, &size, sizeof size) < 0)
            return say_failed("resize");
    say_agent("done\n");
}

// ---------------------------------------------------------------- identity

static bool set_clock(long long offset_ms)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    long long ms = offset_ms + now.tv_nsec / 1000000;
    now.tv_sec += ms / 1000;
    now.tv_nsec = ms % 1000 * 1000000 + now.tv_nsec % 1000000;
    return clock_settime(CLOCK_REALTIME, &now) == 0;
}

// A clone of a template has the template's random state until fresh bytes are mixed in and taken up.
static bool mix_entropy(const unsigned char *bytes, size_t length)
{
    struct {
        struct rand_pool_info info;
        unsigned char bytes[512];
    } pool = { .info = { .buf_size = (int)length, .entropy_count = (int)length * 8 } };
    if (length > sizeof pool.bytes) {
        errno = EINVAL;
        return false;
    }
    memcpy(pool.bytes, bytes, length);
    int fd = open("/dev/urandom", O_RDWR | O_CLOEXEC);
    bool done = fd >= 0 && ioctl(fd, RNDADDENTROPY, &pool) == 0 && ioctl(fd, RNDRESEEDCRNG) == 0;
    int error = errno;
    close(fd);
    errno = error;
    return done;
}

// One visitor, one key, one purpose: streams to the agent's socket, from the guest's NFS client to the
// bait, and commands for measurements. Host key, key and user files lie in a folder that only root can enter.
static const char sshd_config[] =
    "Port %1$d\nAddressFamily inet\nListenAddress 0.0.0.0\nPidFile %2$s/sshd_config.pid\nHostKey %2$s/host_key\nAuthorizedKeysFile %2$s/authorized_keys\n"
    "AllowUsers root\nPermitRootLogin prohibit-password\nAuthenticationMethods publickey\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
    "UsePAM no\nStrictModes no\nUseDNS no\nAllowTcpForwarding yes\nAllowStreamLocalForwarding yes\nAllowAgentForwarding no\nX11Forwarding no\n"
    "PermitTunnel no\nPermitUserRC no\nPermitUserEnvironment no\nPrintMotd no\nPrintLastLog no\nTCPKeepAlive no\nClientAliveInterval 0\nCompression no\n"
    "LoginGraceTime 120\nMaxSessions 1024\nLogLevel ERROR\nKexAlgorithms ecdh-sha2-nistp256,curve25519-sha256,curve25519-sha256@libssh.org\n"
    "Ciphers aes128-gcm@openssh.com,aes128-ctr,chacha20-poly1305@openssh.com\nMACs hmac-sha2-256-etm@openssh.com,hmac-sha2-256\n"
    "HostKeyAlgorithms ecdsa-sha2-nistp256,ssh-ed25519\nPubkeyAcceptedAlgorithms ecdsa-sha2-nistp256,ssh-ed25519\n";

static void reset_clock(const char *line)
{
    if (!set_clock(atoll(line + 6)))
        return say_failed("clock");
    say_agent("done\n");
}

static void make_fifo(const char *path)
{
    unlink(path);
    if (mkfifo(path, 0600) != 0)
        perror(path);
}

static const char *in_folder(const char *folder, const char *name)
{
    static char path[2 * WORD_BYTES];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

// The ssh server loads and links itself and reads its config, which takes an emulated guest half a second, and then waits for its host key,
// which comes when this guest knows who it is; when it listens it writes sshd_config.pid. Both are FIFOs, so that nobody has to look again
// and again. Each connection is served by a fork (-r): a new server for each would load and link again.
static void start_sshd(const char *program, const char *folder, int port)
{
    if (sshd_pid > 0) {
        kill(sshd_pid, SIGKILL);
        waitpid(sshd_pid, NULL, 0);
    }
    mkdir("/run/sshd", 0755); // it wants that, and finds no init script that makes it
    make_fifo(in_folder(folder, "host_key"));
    make_fifo(in_folder(folder, "sshd_config.pid"));
    FILE *config = fopen(in_folder(folder, "sshd_config"), "we");
    if (config == NULL || fprintf(config, sshd_config, port, folder) < 0 || fclose(config) != 0)
        perror("sshd_config");
    sshd_pid = fork();
    if (sshd_pid != 0)
        return;
    set_signals(0);
    setsid();
    execl(program, program, "-D", "-r", "-f", in_folder(folder, "sshd_config"), NULL);
    perror(program);
    _exit(NOT_FOUND);
}

#include "identity.c"

// ---------------------------------------------------------------- after a job

static pid_t agent_pid;

// True for a process that a job has left, with its name. A zombie is as good as gone, once its other threads have let go of its files.
static bool is_stranger(pid_t pid, const char *sshd, char name[32])
{
    char path[64], text[512], exe[256];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    close(fd);
    if (got <= 0 || pid == 1 || pid == getpid() || pid == agent_pid)
        return false;
    text[got] = '\0';
    char *open_ = strchr(text, '('), *close_ = strrchr(text, ')'), state = 'X';
    unsigned flags = 0;
    int threads = 0;
    if (open_ == NULL || close_ == NULL || sscanf(close_ + 1, " %c %*d %*d %*d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %d", &state, &flags, &threads) != 3)
        return false;
    if (state == 'X' || (state == 'Z' && threads <= 1) || (flags & 0x00200000) != 0) // the last is PF_KTHREAD
        return false;
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    ssize_t length = readlink(path, exe, sizeof exe - 1);
    exe[length < 0 ? 0 : length] = '\0';
    if (strcmp(exe, sshd) == 0)
        return false;
    int at = 0;
    for (const char *c = open_ + 1; c < close_ && at < 31; c++)
        name[at++] = *c > ' ' && *c < 127 ? *c : '_';
    name[at] = '\0';
    return true;
}

static void name_strangers(const char *line, bool kill_them)
{
    const char *sshd = strchr(line, ' ') + 1;
    char answer[4096] = "strangers", name[32];
    size_t used = strlen(answer);
    DIR *all = opendir("/proc");
    for (struct dirent *entry; all != NULL && (entry = readdir(all)) != NULL;) {
        pid_t pid = (pid_t)atoi(entry->d_name);
        if (pid <= 0 || !is_stranger(pid, sshd, name))
            continue;
        if (kill_them)
            kill(pid, SIGKILL);
        if (used < sizeof answer - 64)
            used += (size_t)snprintf(answer + used, 64, " %d:%s", pid, name);
    }
    closedir(all);
    say_agent("%s\n", answer);
}

static void remove_ipc(void)
{
    struct shminfo shm;
    struct shmid_ds segment;
    for (int i = 0, last = shmctl(0, IPC_INFO, (struct shmid_ds *)&shm); i <= last; i++) {
        int id = shmctl(i, SHM_STAT, &segment);
        if (id >= 0)
            shmctl(id, IPC_RMID, NULL);
    }
    struct seminfo sem;
    struct semid_ds set;
    for (int i = 0, last = semctl(0, 0, IPC_INFO, &sem); i <= last; i++) {
        int id = semctl(i, 0, SEM_STAT, &set);
        if (id >= 0)
            semctl(id, 0, IPC_RMID);
    }
    struct msginfo msg;
    struct msqid_ds queue;
    for (int i = 0, last = msgctl(0, IPC_INFO, (struct msqid_ds *)&msg); i <= last; i++) {
        int id = msgctl(i, MSG_STAT, &queue);
        if (id >= 0)
            msgctl(id, IPC_RMID, NULL);
    }
    say_agent("done\n");
}

// As the user himself, since root may not. A user's keyrings outlive his processes, and the kernel shows nobody else what is in them.
static void drop_keys(uid_t uid)
{
    pid_t pid = fork();
    if (pid == 0) {
        if (setresuid(uid, uid, uid) != 0)
            _exit(1);
        // By their numbers: while one of them is on its way out, none is found by its role.
        const long rings[] = {
            syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_KEYRING, 0, 0, 0),
            syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_SESSION_KEYRING, 0, 0, 0),
            syscall(SYS_keyctl, KEYCTL_GET_PERSISTENT, (uid_t)-1, KEY_SPEC_PROCESS_KEYRING, 0, 0),
        };
        for (int i = 0; i < 3; i++)
            syscall(SYS_keyctl, KEYCTL_INVALIDATE, rings[i], 0, 0, 0);
        _exit(0);
    }
    if (pid < 0)
        return say_failed("dropkeys");
    waitpid(pid, NULL, 0);
    say_agent("done\n");
}

static bool is_folder(int at, const struct dirent *entry)
{
    struct stat found;
    if (entry->d_type != DT_UNKNOWN)
        return entry->d_type == DT_DIR;
    return fstatat(at, entry->d_name, &found, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(found.st_mode);
}

// What one look through a folder came to.
struct pass {
    int below;    // a folder in it that is not empty, opened; -1 where there is none
    bool removed; // something
    bool stuck;   // something cannot be removed
};

static struct pass empty_once(int fd)
{
    struct pass pass = { .below = -1 };
    int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *all = again < 0 ? NULL : fdopendir(again);
    pass.stuck = all == NULL;
    for (struct dirent *entry; all != NULL && pass.below < 0 && (entry = readdir(all)) != NULL;) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
            continue;
        bool gone = unlinkat(fd, name, is_folder(fd, entry) ? AT_REMOVEDIR : 0) == 0;
        if (!gone && (errno == ENOTEMPTY || errno == EEXIST))
            pass.below = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        pass.removed |= gone;
        pass.stuck |= !gone && pass.below < 0;
    }
    if (all != NULL)
        closedir(all);
    return pass;
}

// Goes down into what is not empty and up by `..` again, so that neither the length of a path nor the number of open files bounds the
// depth. Below the top, what is stuck ends it, and so does a folder that is not empty and yet has nothing in it: the way up would
// lead down there again.
static bool empty_folder(int fd)
{
    bool progress = false;
    for (long depth = 0;;) {
        struct pass pass = empty_once(fd);
        progress = pass.removed || (progress && pass.below < 0);
        if (pass.below < 0 && pass.removed)
            continue; // a look from which names are taken may pass over others
        pass.stuck |= depth > 0 && pass.below < 0 && !progress;
        bool over = pass.below < 0 && (depth == 0 || pass.stuck);
        int next = over ? -1 : pass.below >= 0 ? pass.below : openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        close(fd);
        if (next < 0)
            return over && !pass.stuck;
        depth += pass.below >= 0 ? 1 : -1;
        fd = next;
    }
}

// Takes one path in hexadecimal digits; gives what comes after it.
static const char *read_path(const char *hex, char path[PATH_MAX])
{
    size_t length = 0;
    while (length < PATH_MAX - 1 && isxdigit((unsigned char)*hex) && sscanf(hex, "%2hhx", (unsigned char *)&path[length]) == 1) {
        length++;
        hex += 2;
    }
    path[length] = '\0';
    return hex;
}

static void empty(const char *line)
{
    bool emptied = true;
    for (const char *hex = strchr(line, ' '); hex != NULL; hex = strchr(hex, ' ')) {
        char path[PATH_MAX];
        hex = read_path(hex + 1, path);
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        emptied &= fd >= 0 && empty_folder(fd);
    }
    if (!emptied)
        return say_failed("empty");
    say_agent("done\n");
}

// Whatever is not walked for want of room is said all the same: it is more than was there before.
enum { WALK_BYTES = 1 << 20, WALK_PATH = 1 << 16, WALK_DEPTH = 200, SKIPPED = 32 };
static struct {
    char path[WALK_PATH], text[WALK_BYTES];
    size_t used;
    bool full;
    char skipped[SKIPPED][PATH_MAX];
    int skips;
} walked;

static void note(const char *end, const char *state)
{
    size_t need = strlen(walked.path) + strlen(end) + strlen(state) + 2;
    if (need > sizeof walked.text - walked.used) {
        walked.full = true;
        return;
    }
    walked.used += (size_t)sprintf(walked.text + walked.used, "%s%s", walked.path, end) + 1;
    walked.used += (size_t)sprintf(walked.text + walked.used, "%s", state) + 1;
}

static bool is_skipped(void)
{
    for (int i = 0; i < walked.skips; i++)
        if (strcmp(walked.path, walked.skipped[i]) == 0)
            return true;
    return false;
}

static void walk(int at, const char *name, int depth);

// What is in the folder that is open as fd, which is closed.
static void walk_folder(int fd, int depth)
{
    size_t length = strlen(walked.path);
    bool bare = true;
    DIR *all = fdopendir(fd);
    if (all == NULL) {
        close(fd);
        return note("/", "");
    }
    for (struct dirent *entry; (entry = readdir(all)) != NULL;) {
        size_t more = strlen(entry->d_name) + 1;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        bare = false;
        if (length + more >= sizeof walked.path) {
            walked.full = true;
            continue;
        }
        walked.path[length] = '/';
        memcpy(walked.path + length + 1, entry->d_name, more);
        if (!is_skipped())
            walk(fd, entry->d_name, depth + 1);
        walked.path[length] = '\0';
    }
    closedir(all);
    if (bare && depth > 0)
        note("/", "");
}

static void walk(int at, const char *name, int depth)
{
    struct stat found;
    char state[160] = "";
    if (fstatat(at, name, &found, AT_SYMLINK_NOFOLLOW) != 0) {
        if (depth > 0)
            note("", ""); // a folder of the list that this guest does not have is not there
        return;
    }
    int used = snprintf(state, sizeof state, "%o %u %u %llu", found.st_mode, found.st_uid, found.st_gid, (unsigned long long)found.st_rdev);
    if (S_ISREG(found.st_mode) || S_ISLNK(found.st_mode))
        snprintf(state + used, sizeof state - (size_t)used, " %lld %llu %lld.%09ld", (long long)found.st_size, (unsigned long long)found.st_ino, (long long)found.st_ctim.tv_sec, found.st_ctim.tv_nsec);
    if (!S_ISDIR(found.st_mode) || depth == 0)
        note("", state);
    if (!S_ISDIR(found.st_mode))
        return;
    int fd = depth < WALK_DEPTH ? openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
    if (fd < 0)
        return note("/", "");
    walk_folder(fd, depth);
}

static void walk_all(const char *line)
{
    static const char digits[] = "0123456789abcdef", more[] = "more than can be told";
    const char *list = strchr(line, ' '), *end = strchr(line, '-');
    walked.used = 0;
    walked.full = false;
    walked.skips = 0;
    errno = EINVAL;
    if (end == NULL)
        return say_failed("walk");
    for (const char *hex = strchr(end, ' '); hex != NULL; hex = strchr(hex, ' ')) {
        if (walked.skips == SKIPPED)
            return say_failed("walk");
        hex = read_path(hex + 1, walked.skipped[walked.skips++]);
    }
    while (list != NULL && list + 1 < end) {
        list = strchr(read_path(list + 1, walked.path), ' ');
        walk(AT_FDCWD, walked.path, 0);
    }
    tell_agent("walked ", 7);
    if (walked.full && sizeof walked.text - walked.used <= sizeof more + 1)
        walked.used = 0; // the one name says enough
    if (walked.full) {
        memcpy(walked.text + walked.used, more, sizeof more);
        walked.text[walked.used + sizeof more] = '\0';
        walked.used += sizeof more + 1;
    }
    for (size_t from = 0; from < walked.used;) {
        char hex[4096];
        size_t bytes = 0;
        for (; bytes < sizeof hex && from < walked.used; from++) {
            hex[bytes++] = digits[(unsigned char)walked.text[from] >> 4];
            hex[bytes++] = digits[walked.text[from] & 15];
        }
        tell_agent(hex, bytes);
    }
    tell_agent("\n", 1);
}

// ---------------------------------------------------------------- the loop

static void obey(const char *line, struct cursor bytes)
{
    errno = EINVAL;
    if (strncmp(line, "start ", 6) == 0)
        start(line, bytes);
    else if (obey_about_connection(line) || obey_about_port(line))
        return;
    else if (strncmp(line, "tasks ", 6) == 0)
        serve_tasks(line);
    else if (strncmp(line, "resize ", 7) == 0)
        resize_terminal(line);
    else if (strncmp(line, "port ", 5) == 0)
        serve_port(line);
    else if (strncmp(line, "clock ", 6) == 0)
        reset_clock(line);
    else if (strncmp(line, "strangers ", 10) == 0 || strncmp(line, "kill ", 5) == 0)
        name_strangers(line, *line == 'k');
    else if (strcmp(line, "ipc") == 0)
        remove_ipc();
    else if (strncmp(line, "dropkeys ", 9) == 0)
        drop_keys((uid_t)strtoul(line + 9, NULL, 10));
    else if (strncmp(line, "empty ", 6) == 0)
        empty(line);
    else if (strncmp(line, "walk ", 5) == 0)
        walk_all(line);
    else if (strncmp(line, "unmount ", 8) == 0 && (umount2(line + 8, MNT_FORCE | UMOUNT_NOFOLLOW) == 0 || umount2(line + 8, MNT_DETACH | UMOUNT_NOFOLLOW) == 0))
        say_agent("done\n");
    else
        say_failed("command");
}

// What the agent has written: whole commands are obeyed, the rest waits for more.
static struct { uint8_t *bytes; size_t used, size; } input;

static size_t obey_one(void)
{
    uint8_t *end = memchr(input.bytes, '\n', input.used);
    if (end == NULL)
        return 0;
    *end = '\0';
    const char *line = (char *)input.bytes;
    size_t line_bytes = (size_t)(end - input.bytes) + 1, extra = 0;
    if (strncmp(line, "start ", 6) == 0)
        sscanf(line, "start %*s %*s %*s %*s %*s %zu", &extra);
    if (input.used < line_bytes + extra) {
        *end = '\n';
        return 0;
    }
    obey(line, (struct cursor){ end + 1, end + 1 + extra });
    return line_bytes + extra;
}

// False when the agent is gone.
static bool hear_agent(void)
{
    if (input.size - input.used < 1 << 16)
        input.bytes = realloc(input.bytes, input.size = input.size * 2 + (1 << 17));
    ssize_t got = input.bytes == NULL ? -1 : read(agent_fd, input.bytes + input.used, input.size - input.used);
    if (got <= 0)
        return got < 0 && errno == EINTR;
    input.used += (size_t)got;
    for (size_t done; (done = obey_one()) > 0;) {
        memmove(input.bytes, input.bytes + done, input.used - done);
        input.used -= done;
    }
    return true;
}

static pid_t start_program(char **argv, int theirs)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    set_signals(0);
    if (theirs == AGENT_FD)
        fcntl(theirs, F_SETFD, 0);
    else
        dup2(theirs, AGENT_FD);
    execv(argv[0], argv);
    perror(argv[0]);
    _exit(NOT_FOUND);
}

// Ends when the agent does, and as it did.
static int serve(char **argv)
{
    int pair[2];
    while ((pair[0] = open("/dev/null", O_RDWR)) >= 0 && pair[0] <= STDERR_FILENO)
        ; // a closed 0, 1 or 2 would be taken by what is opened next
    close(pair[0]);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return NOT_STARTED;
    agent_pid = start_program(argv, pair[1]);
    close(pair[1]);
    agent_fd = pair[0];
    signal(SIGPIPE, SIG_IGN);
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigprocmask(SIG_BLOCK, &children, NULL);
    int child_fd = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
    static struct pollfd fds[3 + PORT_POLLS + CONNECTION_POLLS];
    for (bool there = true; there;) {
        fds[0] = (struct pollfd){ .fd = agent_fd, .events = POLLIN };
        fds[1] = (struct pollfd){ .fd = child_fd, .events = POLLIN };
        fds[2] = (struct pollfd){ .fd = tasks_fd, .events = POLLIN };
        poll_port(fds + 3);
        poll_connections(fds + 3 + PORT_POLLS);
        if (poll(fds, 3 + PORT_POLLS + CONNECTION_POLLS, port_pause()) < 0)
            continue;
        move_port(fds + 3);
        move_bytes(fds + 3 + PORT_POLLS);
        struct signalfd_siginfo news;
        if (fds[1].revents && read(child_fd, &news, sizeof news) > 0)
            reap();
        if (fds[2].revents)
            accept_task();
        if (fds[0].revents)
            there = hear_agent();
        flush_connections();
    }
    int status = 0;
    waitpid(agent_pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : NOT_STARTED;
}

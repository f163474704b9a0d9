// wnod-starter: what runs before node does, in the same process. Node's own start takes away things of its caller that a job must get: it
// sets every ignored signal to its default, empties the signal mask, opens /dev/null where 0, 1 or 2 is closed, keeps other descriptors
// from its children, and raises its soft limit of open files. They are noted in WNOD_BEFORE (hooks/starter/before.ts reads it), then this
// process becomes `node starter.cjs`. Nothing else
// of it changes: environment and arguments stay as they are, byte for byte. Variables of the job's that Node or the loader of its
// libraries would obey (LD_LIBRARY_PATH, NODE_OPTIONS, …) are for the job alone: Node finds them under another name, which
// hooks/starter/surroundings.ts takes off again.
//
// Called as `wnod-slurm`, by a link of that name, it says so in WNOD_FRONT_END (hooks/starter/front-end.ts). A file `wnod-slurm.env` beside the
// link has lines WNOD_NAME=value, which count where the environment does not set them: a batch system that calls us need not know them.
//
// starter.cjs lies beside this program. Node is WNOD_NODE, else the one in the PATH.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <unistd.h>

enum { REFUSED = 75, LAST_SIGNAL = 64, INHERITED_MAX = 256 };

_Noreturn static void refuse(const char *what)
{
    dprintf(STDERR_FILENO, "wnod: the job did not run: %s: %s\n", what, strerror(errno));
    _exit(REFUSED);
}

static unsigned long long ignored_signals(void)
{
    unsigned long long all = 0;
    for (int n = 1; n <= LAST_SIGNAL; n++) {
        struct sigaction now;
        if (sigaction(n, NULL, &now) == 0 && now.sa_handler == SIG_IGN)
            all |= 1ULL << (n - 1);
    }
    return all;
}

static unsigned closed_descriptors(void)
{
    unsigned all = 0;
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            all |= 1U << fd;
    return all;
}

static unsigned long long blocked_signals(void)
{
    unsigned long long all = 0;
    sigset_t mask;
    sigprocmask(SIG_SETMASK, NULL, &mask);
    for (int n = 1; n <= LAST_SIGNAL; n++)
        if (sigismember(&mask, n) == 1)
            all |= 1ULL << (n - 1);
    return all;
}

// Descriptors beyond the three that a program which we execute gets, each after a blank.
static void list_inherited(char *to, size_t room)
{
    *to = '\0';
    DIR *folder = opendir("/proc/self/fd");
    if (folder == NULL)
        return;
    for (struct dirent *each; (each = readdir(folder)) != NULL;) {
        int fd = atoi(each->d_name), flags = fd > 2 ? fcntl(fd, F_GETFD) : -1;
        if (flags < 0 || flags & FD_CLOEXEC)
            continue;
        int length = snprintf(to, room, " %d", fd);
        if (length < 0 || (size_t)length >= room) {
            *to = '\0';
            break;
        }
        to += length;
        room -= (size_t)length;
    }
    closedir(folder);
}

// The process id comes first: it stays the same over exec, so a note that was inherited from elsewhere is told apart.
static void note(void)
{
    char inherited[INHERITED_MAX * sizeof " 1234567"], text[sizeof inherited + 96];
    struct rlimit files = { RLIM_INFINITY, RLIM_INFINITY };
    getrlimit(RLIMIT_NOFILE, &files);
    list_inherited(inherited, sizeof inherited);
    snprintf(text, sizeof text, "%d %llx %x %llu %llx%s", (int)getpid(), ignored_signals(), closed_descriptors(), (unsigned long long)files.rlim_cur,
             blocked_signals(), inherited);
    if (setenv("WNOD_BEFORE", text, 1) != 0)
        refuse("environment");
}

static bool steers_node(const char *entry)
{
    static const char *const names[] = { "LD_", "NODE_", "UV_", "OPENSSL_", "SSL_CERT_", "GLIBC_TUNABLES=", "GCONV_PATH=", "MALLOC_" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strncmp(entry, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

static void hide_from_node(char **entries)
{
    static const char hidden[] = "WNOD_JOBS_";
    for (; *entries != NULL; entries++) {
        if (!steers_node(*entries))
            continue;
        char *entry = malloc(sizeof hidden + strlen(*entries));
        if (entry == NULL)
            refuse("memory");
        strcpy(stpcpy(entry, hidden), *entries);
        *entries = entry;
    }
}

// The path of starter.cjs, beside us wherever links to us lie.
static const char *script(void)
{
    static const char name[] = "starter.cjs";
    static char path[PATH_MAX + sizeof name];
    ssize_t length = readlink("/proc/self/exe", path, PATH_MAX);
    if (length < 0)
        refuse("/proc/self/exe");
    path[length] = '\0';
    strcpy(strrchr(path, '/') + 1, name);
    return path;
}

// The settings beside the link. What is no setting of ours is not looked at, so that a file in the wrong place changes nothing.
static void read_settings(const char *link)
{
    static char path[PATH_MAX + sizeof ".env"], line[2 * PATH_MAX];
    if (snprintf(path, sizeof path, "%s.env", link) >= (int)sizeof path)
        return;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return;
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *value = strchr(line, '=');
        if (strncmp(line, "WNOD_", 5) != 0 || value == NULL)
            continue;
        *value = '\0';
        if (setenv(line, value + 1, 0) != 0)
            refuse("environment");
    }
    fclose(file);
}

// A batch system that puts us in the job's place can give us no options: the file that it executes is all that it can choose. argv[0] is not
// always that file: a login shell's begins with a '-'.
static void name_front_end(const char *link)
{
    static const char ours[] = "wnod-";
    const char *slash = strrchr(link, '/');
    const char *name = slash == NULL ? link : slash + 1;
    if (strncmp(name, ours, sizeof ours - 1) != 0 || strcmp(name, "wnod-starter") == 0)
        return;
    if (setenv("WNOD_FRONT_END", name + sizeof ours - 1, 1) != 0)
        refuse("environment");
    read_settings(link);
}

int main(int argc, char **argv)
{
    const char *link = (const char *)getauxval(AT_EXECFN);
    if (link != NULL)
        name_front_end(link);
    const char *node = getenv("WNOD_NODE");
    char **words = calloc((size_t)argc + 2, sizeof *words);
    if (words == NULL)
        refuse("memory");
    words[0] = (char *)(node == NULL || *node == '\0' ? "node" : node);
    words[1] = (char *)script();
    for (int i = 1; i < argc; i++)
        words[i + 1] = argv[i];
    hide_from_node(environ);
    note();
    execvp(words[0], words);
    refuse(words[0]);
}

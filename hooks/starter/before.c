// wnod-starter: what runs before node does, in the same process. Node's own start takes away three things of its caller that a job
// must get: it sets every ignored signal to its default, opens /dev/null where 0, 1 or 2 is closed, and raises its soft limit of open
// files. They are noted in WNOD_BEFORE (hooks/starter/before.ts reads it), then this process becomes `node starter.cjs`. Nothing else
// of it changes: environment and arguments stay as they are, byte for byte. Variables of the job's that Node or the loader of its
// libraries would obey (LD_LIBRARY_PATH, NODE_OPTIONS, …) are for the job alone: Node finds them under another name, which
// hooks/starter/surroundings.ts takes off again.
//
// Called as `wnod-slurm`, by a link of that name, it says so in WNOD_FRONT_END (hooks/starter/front-end.ts).
//
// starter.cjs lies beside this program. Node is WNOD_NODE, else the one in the PATH.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { REFUSED = 75, LAST_SIGNAL = 64 };

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

// The process id comes first: it stays the same over exec, so a note that was inherited from elsewhere is told apart.
static void note(void)
{
    char text[96];
    struct rlimit files = { RLIM_INFINITY, RLIM_INFINITY };
    getrlimit(RLIMIT_NOFILE, &files);
    snprintf(text, sizeof text, "%d %llx %x %llu", (int)getpid(), ignored_signals(), closed_descriptors(), (unsigned long long)files.rlim_cur);
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

// A batch system that puts us in the job's place can give us no options: our name is all that it can choose.
static void name_front_end(const char *path)
{
    static const char ours[] = "wnod-";
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    if (strncmp(name, ours, sizeof ours - 1) != 0 || strcmp(name, "wnod-starter") == 0)
        return;
    if (setenv("WNOD_FRONT_END", name + sizeof ours - 1, 1) != 0)
        refuse("environment");
}

int main(int argc, char **argv)
{
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
    if (argc > 0)
        name_front_end(argv[0]);
    execvp(words[0], words);
    refuse(words[0]);
}

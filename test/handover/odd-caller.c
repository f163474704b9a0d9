// Stands in for a batch system with surroundings that no shell could make: descriptors beside the three, a signal mask, ignored signals, a
// soft limit, an environment with entries that are twice there, empty, or no text. Then it executes its arguments, by the first one's path.
//     odd-caller CLOSED [NAME=VALUE…] -- FILE ARG…       CLOSED: digits of the descriptors that are closed, or -
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    char *env[64] = { "PATH=/usr/bin:/bin", "TWICE=1", "TWICE=2", "odd", "=nameless", "", "BYTES=\xff\xfe\n", "LD_LIBRARY_PATH=/nonexistent", "NODE_OPTIONS=--bad",
                      "LD_LIBRARY_PATH=/other", "UV_THREADPOOL_SIZE=1", "EMPTY=" };
    int entries = 12, i = 2;
    for (; i < argc && strcmp(argv[i], "--") != 0; i++)
        env[entries++] = argv[i];
    if (i + 1 >= argc)
        return 2;
    int extra = open("/dev/zero", O_RDONLY);
    dup2(extra, 7);
    dup2(extra, 40);
    fcntl(extra, F_SETFD, FD_CLOEXEC);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGRTMIN + 3, SIG_IGN);
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    sigaddset(&mask, SIGRTMIN + 5);
    sigprocmask(SIG_SETMASK, &mask, NULL);
    struct rlimit files = { 123, 456 }, stack = { 4 << 20, 8 << 20 };
    setrlimit(RLIMIT_NOFILE, &files);
    setrlimit(RLIMIT_STACK, &stack);
    umask(027);
    nice(3);
    for (const char *at = argv[1]; *at != '\0'; at++)
        if (*at >= '0' && *at <= '2')
            close(*at - '0');
    execve(argv[i + 1], argv + i + 1, env);
    return 127;
}

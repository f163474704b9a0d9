// wnod-exec.node: how the job starter becomes the job, where that is to run on the host itself. Node cannot execute a program in its own
// place, so this addon does; starter.cjs loads it then and never else. What node has changed of its surroundings is put back first:
//
//   signals(job)   every signal is ignored or not as our caller had it; what comes from now on does to us what it would do to the job
//   exec(job)      the files of our caller (those that were closed, those that node would not have inherited), its soft limit of open
//                  files, its signal mask; then the command. Answers errno where that cannot be executed.
//
// `job` is one Buffer, made by hooks/starter/bare.ts: the struct below, the inherited descriptors, then strings, each ended by a zero: the
// file, the words, the entries of the environment; the bytes of stdin, where the front end has read them, come last.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

// The few functions of Node-API that are used here, as its documentation has them; they are the same in every version of node. Without the
// header, a machine with nothing but node and a compiler can build this.
typedef void *napi_env, *napi_value, *napi_callback_info;
typedef napi_value (*napi_callback)(napi_env, napi_callback_info);
int napi_create_object(napi_env, napi_value *);
int napi_create_function(napi_env, const char *, size_t, napi_callback, void *, napi_value *);
int napi_set_named_property(napi_env, napi_value, const char *, napi_value);
int napi_get_cb_info(napi_env, napi_callback_info, size_t *, napi_value *, napi_value *, void **);
int napi_get_buffer_info(napi_env, napi_value, void **, size_t *);
int napi_create_int32(napi_env, int32_t, napi_value *);

enum { LAST_SIGNAL = 64, PIPE_BYTES = 65536 };

struct job {
    uint64_t ignored, blocked; // signal n is bit n - 1
    uint64_t open_files;       // the soft limit
    uint32_t knows;            // which of the next three the caller knows: KNOWS_*
    uint32_t closed;           // bits of 0, 1 and 2
    uint32_t inherited, words, entries;
    uint32_t has_stdin, stdin_bytes;
    uint32_t is_path; // the file is executed as it is: not looked for, and no shell takes what is no program
};
enum { KNOWS_BLOCKED = 1, KNOWS_OPEN_FILES = 2 };

static const char *next(const char **at)
{
    const char *text = *at;
    *at += strlen(text) + 1;
    return text;
}

static const char **list(uint32_t count, const char **at)
{
    const char **words = calloc((size_t)count + 1, sizeof *words);
    for (uint32_t i = 0; words != NULL && i < count; i++)
        words[i] = next(at);
    return words;
}

// As the pipe was from which the front end has read them: more than a pipe holds comes from memory.
static bool give_stdin(const char *bytes, size_t length)
{
    int ends[2] = { -1, -1 };
    if (length > PIPE_BYTES) {
        ends[0] = memfd_create("stdin", 0);
        ends[1] = ends[0];
    } else if (pipe(ends) != 0)
        return false;
    if (ends[0] < 0)
        return false;
    for (size_t at = 0; at < length;) {
        ssize_t written = write(ends[1], bytes + at, length - at);
        if (written < 0)
            return false;
        at += (size_t)written;
    }
    if (ends[0] == ends[1])
        lseek(ends[0], 0, SEEK_SET);
    else
        close(ends[1]);
    if (ends[0] == STDIN_FILENO)
        return true;
    return dup2(ends[0], STDIN_FILENO) == STDIN_FILENO && close(ends[0]) == 0;
}

static void put_back_files(const struct job *job, const int32_t *inherited)
{
    for (int fd = 0; fd < 3; fd++) {
        if (job->closed & 1U << fd)
            close(fd);
        else
            fcntl(fd, F_SETFD, 0);
    }
    for (uint32_t i = 0; i < job->inherited; i++)
        fcntl(inherited[i], F_SETFD, 0);
    struct rlimit files;
    if (job->knows & KNOWS_OPEN_FILES && getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = (rlim_t)job->open_files;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

static void put_back_mask(const struct job *job)
{
    sigset_t mask;
    sigemptyset(&mask);
    for (int n = 1; n <= LAST_SIGNAL && job->knows & KNOWS_BLOCKED; n++)
        if (job->blocked & 1ULL << (n - 1))
            sigaddset(&mask, n);
    sigprocmask(SIG_SETMASK, &mask, NULL);
}

static const struct job *job_of(napi_env env, napi_callback_info info)
{
    size_t count = 1, length = 0;
    napi_value buffer = NULL;
    void *bytes = NULL;
    napi_get_cb_info(env, info, &count, &buffer, NULL, NULL);
    return napi_get_buffer_info(env, buffer, &bytes, &length) == 0 && length >= sizeof(struct job) ? bytes : NULL;
}

static napi_value number(napi_env env, int value)
{
    napi_value result = NULL;
    napi_create_int32(env, value, &result);
    return result;
}

static napi_value signals(napi_env env, napi_callback_info info)
{
    const struct job *job = job_of(env, info);
    if (job == NULL)
        return number(env, EINVAL);
    for (int n = 1; n <= LAST_SIGNAL; n++)
        signal(n, job->ignored & 1ULL << (n - 1) ? SIG_IGN : SIG_DFL); // KILL, STOP and those of the C library's own cannot be set, nor need to be
    return number(env, 0);
}

static napi_value exec(napi_env env, napi_callback_info info)
{
    const struct job *job = job_of(env, info);
    if (job == NULL)
        return number(env, EINVAL);
    const int32_t *inherited = (const int32_t *)(job + 1);
    const char *at = (const char *)(inherited + job->inherited);
    const char *file = next(&at);
    const char **words = list(job->words, &at), **entries = list(job->entries, &at);
    if (words == NULL || entries == NULL)
        return number(env, ENOMEM);
    if (job->has_stdin && !give_stdin(at, job->stdin_bytes))
        return number(env, errno);
    put_back_files(job, inherited);
    put_back_mask(job);
    environ = (char **)entries; // where execvp looks for PATH
    if (job->is_path)
        execve(file, (char **)words, environ);
    else
        execvp(file, (char **)words);
    return number(env, errno);
}

// What node calls when it has loaded this.
__attribute__((visibility("default"))) napi_value napi_register_module_v1(napi_env env, napi_value exports)
{
    static const struct { const char *name; napi_callback call; } functions[] = { { "signals", signals }, { "exec", exec } };
    (void)exports;
    napi_value object = NULL;
    napi_create_object(env, &object);
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        napi_value function = NULL;
        napi_create_function(env, functions[i].name, strlen(functions[i].name), functions[i].call, NULL, &function);
        napi_set_named_property(env, object, functions[i].name, function);
    }
    return object;
}

// wnod-wrapper: USER_JOB_WRAPPER of HTCondor, called with the job's program and its arguments. A job whose ad says `+VM = "type"` goes to the job
// starter, `wnod-htcondor` beside the path that this is called by; any other is executed as it would be without us. It is no shell script: a
// shell takes variables from the job whose names are none for it.
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/auxv.h>
#include <unistd.h>

static const char failure_file[] = "_CONDOR_WRAPPER_ERROR_FILE", starter[] = "wnod-htcondor", blanks[] = " \t";

static const char *after_blanks(const char *text)
{
    return text + strspn(text, blanks);
}

// A line `VM = …` of the job's ad, one attribute a line; a job without an ad asks for nothing.
static bool asks_for_vm(const char *ad)
{
    FILE *file = ad == NULL ? NULL : fopen(ad, "re");
    if (file == NULL)
        return false;
    char *line = NULL;
    size_t room = 0;
    bool found = false;
    while (!found && getline(&line, &room, file) >= 0) {
        const char *name = after_blanks(line);
        found = strncasecmp(name, "VM", 2) == 0 && *after_blanks(name + 2) == '=';
    }
    free(line);
    fclose(file);
    return found;
}

// HTCondor reads there that the node has failed, and not the job.
static int fail(const char *file, const char *what)
{
    int why = errno;
    FILE *to = file == NULL ? NULL : fopen(file, "we");
    fprintf(to == NULL ? stderr : to, "wnod: %s could not be executed: %s\n", what, strerror(why));
    return 1;
}

int main(int argc, char **argv)
{
    const char *failures = getenv(failure_file);
    if (argc < 2) {
        errno = EINVAL;
        return fail(failures, "no job");
    }
    if (asks_for_vm(getenv("_CONDOR_JOB_AD"))) {
        static char path[PATH_MAX + sizeof starter];
        const char *called = (const char *)getauxval(AT_EXECFN), *slash = called == NULL ? NULL : strrchr(called, '/');
        snprintf(path, sizeof path, "%.*s%s", slash == NULL ? 0 : (int)(slash + 1 - called), called, starter);
        argv[0] = path;
        execv(path, argv);
        return fail(failures, path);
    }
    unsetenv(failure_file); // it is not there without a wrapper
    execvp(argv[1], argv + 1);
    return fail(failures, argv[1]);
}

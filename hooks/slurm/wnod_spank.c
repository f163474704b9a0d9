// Slurm's side of the job starter, a SPANK plugin (spank(7), plugstack.conf(5)). It gives sbatch, srun and salloc the option
// `--vm=TYPE`, and puts the job starter in the place of each task's command: batch scripts and steps, with or without a terminal. All
// else stays Slurm's own: TaskProlog, limits, directory, files, signals. `wnod install slurm` compiles it against the headers of the
// Slurm that is there, for it belongs to one release.
//
//   required /usr/lib/…/wnod_spank.so starter=PATH [node=PATH] [home=DIR] [socket=PATH] [default=mapping|none|TYPE] [partition=A,B] [unreachable=requeue|bare]
//
// starter    what runs in a job's stead; without it nothing does, as on a submit host
// node       the Node that runs it, for a user's PATH may name another
// home       where the bait is: the farm's folder; or socket, the bait's own
// default    jobs that do not say --vm: `mapping` lets the mapping choose, TYPE asks for this type, `none` (if nothing is said) leaves
//            them on the bare node
// partition  `default` holds for jobs in these partitions only
// unreachable  jobs while the bait of their node is away: `requeue` (if nothing is said) runs them again later, `bare` on the node itself
//
// What it cannot do is refused; only the mapping, or `unreachable=bare`, lets a job run on the bare node instead. The tasks of `srun --multi-prog` have no command that SPANK could
// reach: they are refused where they would be ours.
#include <slurm/spank.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

SPANK_PLUGIN(wnod, 1)

#ifndef WNOD_MADE
#define WNOD_MADE "by hand"
#endif
// How `wnod install` knows its own work again.
__attribute__((used)) static const char made[] = "made by `wnod install`: " WNOD_MADE;

// A callback fails by a negative number; SPANK's own error codes are positive, and would be taken for success.
enum { NAME_MAX_BYTES = 64, FAILED = -1 };

static char asked[NAME_MAX_BYTES + 1]; // the user's --vm

static struct {
    const char *starter, *node, *home, *socket, *otherwise, *partition, *unreachable;
} settings;

// As core/ids.ts says of VWN types; anything else could be hostile, and exists nowhere.
static bool is_type(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    size_t length = strlen(name);
    return length > 0 && length <= NAME_MAX_BYTES && strchr(letters, name[0]) != NULL && strspn(name, "._-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == length;
}

static int on_vm(int value, const char *name, int remote)
{
    (void)value;
    (void)remote;
    if (name == NULL || !is_type(name)) {
        slurm_error("wnod: --vm wants the name of a VWN type (`wnod types` lists them): letters, digits, dot, dash and underscore");
        return ESPANK_BAD_ARG;
    }
    strcpy(asked, name);
    return ESPANK_SUCCESS;
}

static struct spank_option vm = { "vm", "TYPE", "run the job in a virtual worker node of this type", 1, 0, on_vm };

static int read_settings(int count, char **words)
{
    const struct { const char *name; const char **to; } known[] = {
        { "starter=", &settings.starter }, { "node=", &settings.node },         { "home=", &settings.home },
        { "socket=", &settings.socket },   { "default=", &settings.otherwise }, { "partition=", &settings.partition },
        { "unreachable=", &settings.unreachable },
    };
    for (int i = 0; i < count; i++) {
        size_t k = 0;
        while (k < sizeof known / sizeof *known && strncmp(words[i], known[k].name, strlen(known[k].name)) != 0)
            k++;
        if (k == sizeof known / sizeof *known || words[i][strlen(known[k].name)] == '\0') {
            slurm_error("wnod: plugstack.conf: \"%s\" is not known, or has no value", words[i]);
            return FAILED;
        }
        *known[k].to = words[i] + strlen(known[k].name);
    }
    if (settings.otherwise != NULL && !is_type(settings.otherwise)) {
        slurm_error("wnod: plugstack.conf: default=%s is no VWN type", settings.otherwise);
        return FAILED;
    }
    if (settings.unreachable != NULL && strcmp(settings.unreachable, "requeue") != 0 && strcmp(settings.unreachable, "bare") != 0) {
        slurm_error("wnod: plugstack.conf: unreachable=%s is neither requeue nor bare", settings.unreachable);
        return FAILED;
    }
    return ESPANK_SUCCESS;
}

// What is read here stays: Slurm keeps the words of plugstack.conf for as long as the plugin is loaded.
int slurm_spank_init(spank_t spank, int count, char **words)
{
    if (read_settings(count, words) == FAILED)
        return FAILED;
    if (spank_context() == S_CTX_SLURMD || spank_context() == S_CTX_JOB_SCRIPT)
        return ESPANK_SUCCESS;
    return spank_option_register(spank, &vm) == ESPANK_SUCCESS ? ESPANK_SUCCESS : FAILED;
}

static bool has_word(const char *list, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = list; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, word, length) == 0 && (at[length] == ',' || at[length] == '\0'))
            return true;
    }
    return false;
}

// The type to ask for, "" for what the mapping says, NULL for the bare node.
static const char *wanted_type(spank_t spank)
{
    char partition[256];
    if (asked[0] != '\0')
        return asked;
    if (settings.otherwise == NULL || strcmp(settings.otherwise, "none") == 0)
        return NULL;
    if (settings.partition != NULL && (spank_getenv(spank, "SLURM_JOB_PARTITION", partition, sizeof partition) != ESPANK_SUCCESS || !has_word(settings.partition, partition)))
        return NULL;
    return strcmp(settings.otherwise, "mapping") == 0 ? "" : settings.otherwise;
}

// Sets it, or takes away what the user's environment says in its place.
static bool put(spank_t spank, const char *name, const char *value)
{
    if (value != NULL && value[0] != '\0')
        return spank_setenv(spank, name, value, 1) == ESPANK_SUCCESS;
    spank_unsetenv(spank, name);
    return true;
}

// `srun --multi-prog FILE`: the words are the file's name and its whole text, lines that begin with task numbers. Slurm has made the
// tasks' own commands of it before, where we cannot see them.
static bool is_multi_prog(int count, char **words)
{
    return count > 1 && strchr(words[1], '\n') != NULL && strchr("0123456789*#\n", words[1][0]) != NULL && access(words[0], X_OK) != 0;
}

// In the task, as the user, right before its command is executed.
int slurm_spank_task_init(spank_t spank, int count, char **words)
{
    (void)count;
    (void)words;
    int argc = 0;
    char **argv = NULL;
    const char *type = wanted_type(spank);
    if (type == NULL || settings.starter == NULL)
        return type == NULL ? ESPANK_SUCCESS : FAILED;
    if (spank_get_item(spank, S_JOB_ARGV, &argc, &argv) != ESPANK_SUCCESS || argc < 1 || argv[0] == NULL)
        return FAILED;
    if (is_multi_prog(argc, argv)) {
        dprintf(2, "wnod: the job did not run: a step of --multi-prog cannot go into a virtual worker node\n");
        return FAILED;
    }
    // The rest is ours to say: the user's own words for it would lead the starter elsewhere.
    static const char *const not_theirs[] = { "WNOD_CMDLINE", "WNOD_ENVIRON_FD", "WNOD_BATCH_SYSTEM", "WNOD_BATCH_JOB_ID", "WNOD_QUEUE", "WNOD_REFUSED_CODE", "WNOD_LOST_CODE" };
    for (size_t i = 0; i < sizeof not_theirs / sizeof *not_theirs; i++)
        spank_unsetenv(spank, not_theirs[i]);
    if (!put(spank, "WNOD_FRONT_END", "slurm") || !put(spank, "WNOD_ARGV0", argv[0]) || !put(spank, "WNOD_TYPE", type) || !put(spank, "WNOD_NODE", settings.node) ||
        !put(spank, "WNOD_HOME", settings.home) || !put(spank, "WNOD_SOCKET", settings.socket) || !put(spank, "WNOD_UNREACHABLE", settings.unreachable))
        return FAILED;
    argv[0] = strdup(settings.starter);
    return argv[0] == NULL ? FAILED : ESPANK_SUCCESS;
}

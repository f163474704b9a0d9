"""Hands jobs of OpenPBS to the bait of their host: one hook for all the events that it is set for (docs/pbs.md).

Its settings are JSON, imported beside it (`import hook wnod application/x-config default wnod.json`):

    starter   path of wnod-pbs on the hosts: what calls `wnod-starter --pbs`
    wnod      path of wnod, for lease, release, suspension and resources; null: none of these
    types     names of the VWN types that there are; null: submission takes any
    default   false: only jobs with -l vm=TYPE go to a VWN; true: all of them, by the mapping

Jobs say `-l vm=TYPE`. A job that is none of ours passes as it came. A job of ours that cannot be handed over is queued again and never run outside of
its VWN. The name of the type comes from the job's owner: it is compared and passed on as one word, and no shell ever reads it.
"""
import json
import os
import re
import subprocess

import pbs

TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
SECONDS = 20  # below the alarm of the hook (30), so that we can still say why


def settings():
    defaults = {"starter": "/usr/local/lib/wnod/wnod-pbs", "wnod": None, "types": None, "default": False}
    path = pbs.hook_config_filename
    if path:
        with open(path, encoding="utf-8") as file:
            defaults.update(json.load(file))
    return defaults


def wanted_type(job):
    """What the job has asked for: a name, or None."""
    try:
        value = job.Resource_list["vm"]
    except Exception:  # the resource is not defined at this site: OpenPBS has a class of its own for that, of another name in each version
        return None
    return None if value is None else str(value)


def is_ours(job, conf):
    return wanted_type(job) is not None or conf["default"]


def call(conf, *words):
    """Runs `wnod hook WORDS` and answers its exit code and what it said."""
    if not conf["wnod"]:
        return 0, ""
    try:
        done = subprocess.run([conf["wnod"], "hook", *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False)
        return done.returncode, done.stdout.decode("utf-8", "replace")
    except (OSError, subprocess.TimeoutExpired) as error:
        pbs.logmsg(pbs.LOG_WARNING, "wnod hook %s: %s" % (words[0], error))
        return 1, ""


def of_job(job):
    return ("--batch-system", "pbs", "--batch-job-id", str(job.id))


def submitted(event, conf):
    """A type that does not exist is refused while its user looks on."""
    want = wanted_type(event.job)
    if want is None:
        return
    if not TYPE.match(want) or (conf["types"] is not None and want not in conf["types"]):
        known = "" if conf["types"] is None else "; there are " + ", ".join(conf["types"])
        event.reject("wnod: there is no VWN type of this name%s" % known)


def launched(event, conf):
    """The starter takes the place of the command, which becomes its arguments."""
    job = event.job
    if not is_ours(job, conf):
        return
    want = wanted_type(job)
    if want is not None:
        event.env["WNOD_TYPE"] = want
    command = [event.progname] + list(event.argv)[1:]
    event.progname = conf["starter"]
    event.argv = [conf["starter"]] + [str(word) for word in command]


def released(event, conf):
    if is_ours(event.job, conf):
        call(conf, "release", *of_job(event.job))


def suspended(event, conf):
    if is_ours(event.job, conf):
        call(conf, "control", "suspend", *of_job(event.job))


def resumed(event, conf):
    if is_ours(event.job, conf):
        call(conf, "control", "resume", *of_job(event.job))


def reported(event, conf):
    """What this host can offer, into its vnode of the same name."""
    _, text = call(conf, "resources", "--format", "pbs")
    offered = event.vnode_list[pbs.get_local_nodename()].resources_available
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and re.match(r"vm_\w+\Z", name) and value.isdigit():
            offered[name] = int(value)


# By the names of their events: an older OpenPBS does not have them all.
HANDLERS = {
    "QUEUEJOB": submitted,
    "EXECJOB_LAUNCH": launched,
    "EXECJOB_EPILOGUE": released,
    "EXECJOB_END": released,
    "EXECJOB_POSTSUSPEND": suspended,
    "EXECJOB_PRERESUME": resumed,
    "EXECHOST_PERIODIC": reported,
}


def main():
    event = pbs.event()
    handler = next((each for name, each in HANDLERS.items() if getattr(pbs, name, None) == event.type), None)
    try:
        if handler is not None:
            handler(event, settings())
    except Exception as error:
        pbs.logmsg(pbs.LOG_WARNING, "wnod: %s: %s" % (type(error).__name__, error))
        if handler is launched:
            event.job.rerun()
            event.reject("wnod: the job could not be handed to its VWN")
    event.accept()


main()

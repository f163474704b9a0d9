"""Stands in for the module `pbs` of OpenPBS's own Python: one event, as JSON on stdin; what the hook made of it, as JSON on stdout."""
import json
import os
import sys

LOG_WARNING = 4
QUEUEJOB, EXECJOB_BEGIN, EXECJOB_LAUNCH, EXECJOB_EPILOGUE, EXECJOB_END, EXECJOB_PRETERM, EXECJOB_POSTSUSPEND, EXECJOB_PRERESUME, EXECHOST_PERIODIC = (1 << n for n in range(9))

_given = json.load(sys.stdin)
hook_config_filename = _given.get("config")


class _Resources(dict):
    """Answers None for what the job has not asked for, as that of OpenPBS does; an error for what the site has not defined."""

    def __getitem__(self, name):
        if _given.get("undefined") == name:
            raise KeyError("resource attribute '%s' not found" % name)
        return self.get(name)


class _Job:
    def __init__(self):
        self.id = _given["job"]
        self.Resource_list = _Resources(_given.get("resources", {}))
        self.rerun_asked = False

    def rerun(self):
        self.rerun_asked = True


class _Vnode:
    def __init__(self):
        self.resources_available = {}


class _Event:
    def __init__(self):
        self.type = globals()[_given["event"]]
        self.job = _Job()
        self.progname = _given.get("progname")
        self.argv = _given.get("argv")
        self.env = _given.get("env", {})
        self.vnode_list = {"h1": _Vnode()}

    def _answer(self, verdict, message):
        json.dump({
            "is": verdict, "message": message, "rerun": self.job.rerun_asked, "progname": self.progname, "argv": self.argv, "env": self.env,
            "offered": self.vnode_list["h1"].resources_available, "log": _log,
        }, sys.stdout)
        sys.stdout.flush()
        os._exit(0)

    def accept(self):
        self._answer("accepted", None)

    def reject(self, message=""):
        self._answer("rejected", message)


_log = []
_event = _Event()


def event():
    return _event


def logmsg(_level, message):
    _log.append(message)


def get_local_nodename():
    return "h1"

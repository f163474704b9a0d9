"""A terminal and one job at it, as a batch system gives one to an interactive job: the job leads a session whose terminal it is, on all of its three descriptors.

    terminal.py MODES ROWS COLS ARGV0 FILE [ARG…]

MODES is `mom`, what those of PBS and Torque set, or `plain`. Lines of JSON on stdin say what its user and the system do: {"type": "text"}, {"rows": 40, "cols": 120},
{"signal": "SIGTERM"} for every process of the session, {"hangup": true}. When they end, so does the job. What the terminal shows is stdout, bare; one line on stderr at the
end says how the job ended and whether the terminal is again as it was: null where it is gone.
"""
import fcntl
import json
import os
import select
import signal
import struct
import sys
import termios


def resize(terminal, rows, cols):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))


def set_modes_of_mom(terminal):
    t = termios
    _, _, control, _, *rest = t.tcgetattr(terminal)
    keys, lines = t.BRKINT | t.IGNPAR | t.ICRNL | t.IXON | t.IXOFF | t.IMAXBEL, t.ISIG | t.ICANON | t.ECHO | t.ECHOE | t.ECHOK | t.ECHOKE | t.ECHOCTL
    t.tcsetattr(terminal, t.TCSANOW, [keys, t.OPOST | t.ONLCR, control, lines, *rest])


def job(terminal, argv0, file, args):
    for each in (signal.SIGPIPE, signal.SIGXFSZ):  # python ignores them for itself
        signal.signal(each, signal.SIG_DFL)
    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    for fd in (0, 1, 2):
        os.dup2(terminal, fd)
    os.closerange(3, 64)
    os.execv(file, [argv0, *args])


def send(session, name):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat", encoding="latin1") as stat:
                if stat.read().rsplit(") ", 1)[1].split()[3] == str(session):
                    os.kill(int(pid), signal.Signals[name])
        except OSError:
            pass  # it has ended


class Job:
    def __init__(self, modes, rows, cols, argv0, file, *args):
        self.user, self.terminal = os.openpty()
        resize(self.user, int(rows), int(cols))
        if modes == "mom":
            set_modes_of_mom(self.terminal)
        self.before = termios.tcgetattr(self.terminal)
        self.status = None
        self.pid = os.fork()
        if self.pid == 0:
            job(self.terminal, argv0, file, args)

    def do(self, what):
        if "type" in what:
            os.write(self.user, what["type"].encode())
        elif "signal" in what:
            send(self.pid, what["signal"])
        elif "hangup" in what:
            os.close(self.user)
            self.user = None
        else:
            resize(self.user, what["rows"], what["cols"])

    def over(self):
        if self.status is None:
            gone, how = os.waitpid(self.pid, os.WNOHANG)
            self.status = how if gone == self.pid else None
        return self.status is not None

    def report(self):
        died = os.WTERMSIG(self.status) if os.WIFSIGNALED(self.status) else None
        return {
            "code": None if died else os.WEXITSTATUS(self.status),
            "signal": died and signal.Signals(died).name,
            "restored": None if self.user is None else self.before == termios.tcgetattr(self.terminal),
        }


def main(*args):
    one = Job(*args)
    commands, rest = [0], b""
    while True:
        over = one.over()
        shown = [] if one.user is None else [one.user]
        ready, _, _ = select.select(commands + shown, [], [], 0.02)
        if one.user in ready:
            os.write(1, os.read(one.user, 65536))
        elif over:
            break
        if 0 not in ready:
            continue
        read = os.read(0, 65536)
        if not read:
            commands = []
            if not over:
                os.killpg(one.pid, signal.SIGKILL)
        *lines, rest = (rest + read).split(b"\n")
        for line in lines:
            one.do(json.loads(line))
    print(json.dumps(one.report()), file=sys.stderr)


main(*sys.argv[1:])

#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
beside_timeout.py CTXTOOL: runs each scenario with timeout(1) of coreutils, where that is at least the version named,
with a symbolic link named timeout to ctxtool, and with `ctxtool run`, the duration once as operand and once with -t.

What each does is held against what the scenario says: how it ended, what the command and it have written, and whether
what the command left in the background still lives. Nothing is timed: a scenario's time is over by SIGALRM when its
command has said that it is ready, or it is so short that it is over whatever the machine does.
"""
import fcntl
import os
import re
import resource
import select
import signal
import subprocess
import sys
import tempfile
import traceback

CTXTOOL = os.path.realpath(sys.argv[1])
WORK = tempfile.mkdtemp(prefix="ctxring.beside.")
LINK = os.path.join(WORK, "link", "timeout")
PATIENCE_S = 30
PARALLEL = 6

# In the background of a command: says that it lives when the command and whoever ran it have ended.
LIVE = "{ read -r word <&8; echo alive >&9; }"
READY = "echo ready; "
STAY = READY + "exec sleep 30"
# Prints the name of the signal that it gets, and stays until it has one.
NAMES = ("use Config; $| = 1; my @names = split ' ', $Config{sig_name};"
         "for my $name (@names) { next if $name =~ /^(ZERO|KILL|STOP|CONT)$/; $SIG{$name} = sub { print \"$_[0]\\n\"; exit 5 } }"
         "print \"ready\\n\"; sleep 30; exit 6")


class D(str):
    """The duration among the arguments."""


class Scenario:
    def __init__(self, name, arguments, status=0, out="", err=None, *, since=(9, 1), ignored=(), blocked=(), send=(),
                 stdin=b"", files=None, closed=(), alive=None, environment=None, run=None, foreground=None):
        self.name, self.arguments = name, arguments
        self.status, self.out, self.err, self.alive = status, out, err, alive
        self.option = True  # whether it is tried with -t as well
        self.since = since  # of timeout(1); None: it has no such thing, or another opinion
        self.ignored, self.blocked, self.send = ignored, blocked, send
        self.stdin, self.files, self.closed, self.environment = stdin, files, closed, environment
        self.run = run or {}  # what `ctxtool run` does otherwise, as ctxtool(1) says in its table

    def expected(self, subject, what):
        if subject.startswith("run") and what in self.run:
            return self.run[what]
        return getattr(self, what)


SCENARIOS = []


def add(*positional, **named):
    SCENARIOS.append(Scenario(*positional, **named))


def sh(text, *more):
    return ["sh", "-c", text, *more]


# ---- how it ends

def endings():
    add("success", [D("30"), "true"])
    add("failure", [D("30"), "false"], 1)
    add("status", [D("30"), *sh("exit 42")], 42)
    add("status 124 of its own", [D("30"), *sh("exit 124")], 124)
    add("status 255", [D("30"), *sh("exit 255")], 255)
    add("no limit", [D("0"), *sh("exit 42")], 42)
    add("time is over", [D("0.05"), "sleep", "30"], 124)
    add("by TERM of its own", [D("30"), *sh("kill -TERM $$")], -15)
    add("by KILL of its own", [D("30"), *sh("kill -KILL $$")], -9)
    add("by USR1 of its own", [D("30"), *sh("kill -USR1 $$")], -10)
    add("by PIPE of its own", [D("30"), *sh("kill -PIPE $$")], -13)
    add("TERM is caught", [D("30"), *sh("trap 'exit 3' TERM; echo ready; sleep 5 & wait")], 124, "ready\n", send=["ALRM"])
    add("TERM comes once", ["--preserve-status", "-k", "30", D("30"), "perl", "-e", "$| = 1; my $n = 0; $SIG{TERM} = sub { $n++ };"
        "print \"ready\\n\"; select undef, undef, undef, 0.05 while !$n; select undef, undef, undef, 0.1 for 1, 2; exit $n"], 1,
        "ready\n", send=["ALRM"], since=None)
    add("TERM is caught, its status", ["--preserve-status", D("30"), *sh("trap 'exit 3' TERM; echo ready; sleep 5 & wait")],
        3, "ready\n", send=["ALRM"])
    add("status of a signal", ["--preserve-status", D("30"), *sh(STAY)], 143, "ready\n", send=["ALRM"])
    add("status of SIGINT", ["--preserve-status", "-s", "INT", D("30"), *sh(STAY)], 130, "ready\n", send=["ALRM"])
    add("status of success", ["--preserve-status", D("30"), "true"])
    add("TERM is ignored, then KILL", ["-k", "0.05", D("30"), *sh("trap '' TERM; " + STAY)], -9, "ready\n", send=["ALRM"],
        run={"status": 137})
    add("TERM is ignored, then KILL, foreground", ["--foreground", "-k", "0.05", D("30"), *sh("trap '' TERM; " + STAY)], 137,
        "ready\n", send=["ALRM"])
    add("KILL first", ["-s", "KILL", D("0.05"), "sleep", "30"], -9, run={"status": 137})
    add("KILL first, foreground", ["--foreground", "-s", "KILL", D("0.05"), "sleep", "30"], 137)
    add("KILL first, its status", ["--foreground", "--preserve-status", "-s", "KILL", D("0.05"), "sleep", "30"], 137)
    add("no KILL when it obeys", ["-k", "30", D("0.05"), "sleep", "30"], 124)
    add("INT", ["-s", "INT", D("0.05"), "sleep", "30"], 124)
    add("kill after nothing", ["-k", "0", D("0.05"), "sleep", "30"], 124)
    add("signal 0 and then KILL", ["-s", "0", "-k", "0.05", D("0.05"), "sleep", "30"], -9, run={"status": 137})
    add("signal 0 and then KILL, foreground", ["--foreground", "-s0", "-k.05", D("0.05"), "sleep", "30"], 137)
    add("signal 0 is none", ["-s", "0", D("0.05"), "sleep", "1"], 124)
    add("EXIT is none", ["-s", "EXIT", "--preserve-status", D("0.05"), *sh("sleep 1; exit 7")], 7)
    add("stopped when the time is over", [D("30"), *sh("echo ready; kill -STOP $$; exit 9")], 124, "ready\n", send=["ALRM"])


# ---- what cannot be run

def commands():
    def missing(name):
        return f"timeout: failed to run command '{name}': No such file or directory\n"
    add("no file", [D("30"), "{work}/none"], 127, err=missing("{work}/none"), run={"err": None})
    add("no program", [D("30"), "none-of-that-name"], 127, err=missing("none-of-that-name"), run={"err": None})
    add("empty name", [D("30"), ""], 127)
    add("no rights", [D("30"), "{work}/file"], 126,
        err="timeout: failed to run command '{work}/file': Permission denied\n", run={"err": None})
    add("directory", [D("30"), "{work}"], 126)
    add("file for a directory", [D("30"), "{work}/file/program"], 126)
    add("symbolic links without end", [D("30"), "{work}/loop"], 126)
    add("name too long", [D("30"), "x" * 300], 126)
    add("path too long", [D("30"), "/" + "x" * 5000], 126)
    add("interpreter missing", [D("30"), "{work}/orphan"], 127)
    add("script without a first line", [D("30"), "{work}/plain", "a b", "c"], 4, "plain <a b> <c>\n")
    add("script without a first line, in $PATH", [D("30"), "plain", "a b", "c"], 4, "plain <a b> <c>\n",
        environment={"PATH": "{work}:" + os.environ["PATH"]})
    add("script without a first line is ended", [D("30"), "{work}/stayer"], 124, "ready\n", send=["ALRM"])
    add("empty file", [D("30"), "{work}/empty"])
    add("without $PATH", [D("30"), *sh("echo here")], 0, "here\n", environment={"PATH": None})
    add("one without rights before it in $PATH", [D("30"), "plain"], 4, "plain <> <>\n",
        environment={"PATH": "{work}/closed:{work}:" + os.environ["PATH"]})
    add("without rights only, in $PATH", [D("30"), "plain"], 126, environment={"PATH": "{work}/closed"})
    add("command with digits", [D("30"), "{work}/7up"], 7)
    add("command named like an option", [D("30"), "-k", "1", "true"], 127, run={"option": 0})
    add("dashes are no command's beginning", [D("30"), "--", "true"], 127, run={"option": 0})


# ---- the line

def usage():
    add("nothing", [], 125, err="Try 'timeout --help' for more information.\n", run={"err": None})
    add("duration alone", [D("30")], 125)
    add("dashes alone", ["--"], 125)
    add("unknown option", ["--none", D("30"), "true"], 125)
    add("unknown letter", ["-x", D("30"), "true"], 125)
    add("option without its value", ["-k"], 125)
    add("signal without its value", ["-s"], 125)
    add("dashes before the duration", ["--", D("30"), *sh("exit 3")], 3)
    add("abbreviated", ["--kill=30", "--sig=INT", "--pres", "--fore", D("0.05"), "sleep", "30"], 130)
    add("values apart", ["--kill-after", "30", "--signal", "INT", D("0.05"), "sleep", "30"], 124)
    add("values at once", ["-k30", "-sINT", D("0.05"), "sleep", "30"], 124)
    add("-f, -p", ["-fp", "-s", "INT", D("0.05"), "sleep", "30"], 130, since=(9, 6))
    add("the last one counts", ["-s", "KILL", "-s", "INT", "--preserve-status", D("0.05"), "sleep", "30"], 130)
    add("options of the command", [D("30"), "echo", "-k", "--help", "-s"], 0, "-k --help -s\n")
    add("duration of the command", [D("30"), "echo", "5"], 0, "5\n")
    add("arguments as they are", [D("30"), "printf", "<%s>", "a b", "", "*", "$x"], 0, "<a b><><*><$x>")
    add("version", ["--version"], 0, None)
    add("help", ["--help"], 0, None)
    for text in ("", "5x", "1..5", "nan", "5 s", "5S", "1hh", "1e", "1e3x", "0x", "5,5", "-0.1", "-inf", "--1", "1 ", "0x1g"):
        # A word that no duration begins like is a command for `ctxtool run`.
        add(f"no duration {text!r}", ["--", D(text), "true"], 125,
            err=f"timeout: invalid time interval '{text}'\nTry 'timeout --help' for more information.\n",
            run={"err": None, **({"operand": 127} if text in ("", "nan", "--1") else {})})
    add("no duration at all", [D("nonsense"), "true"], 125, run={"operand": 127})
    add("negative and too small to tell", ["--", D("-1e-10000"), "true"], 125, since=(9, 6))
    for text in ("", "x", "5x", "-1", "nan"):
        add(f"no duration to KILL {text!r}", [f"-k{text}" if text else "--kill-after=", D("30"), "true"], 125)
    for text in ("NOPE", "", "-1", "65", "200", "255", "384", "RTMIN+99", "RTMAX+1", "RTMIN-1", "SIG", "1x", "SIGSIGTERM",
                 "99999999999", "TERM "):
        add(f"no signal {text!r}", [f"--signal={text}", D("30"), "true"], 125,
            err=f"timeout: '{text}': invalid signal\nTry 'timeout --help' for more information.\n", run={"err": None})


# ---- durations

def durations():
    for text in ("30", "30s", "2m", "1h", "1d", "30.5", ".5m", "30.", "1e3", "1E3s", "1e1m", "+30", " 30", "0x10", "0x1p5",
                 "0X1Ep0s", "0x1d", "inf", "INF", "infinity", "infinityd", "1e400", "1e5000", "99999999999999999999d", "1e18d",
                 "9223372036854775808", "0", "0.0", "0d", "-0", "0x0", "0e9"):
        add(f"duration {text!r}", ["--", D(text), *sh("exit 3")], 3)
    for text in ("inf", "1e400", "0", "-0", "0x0p0", "1e30d"):
        add(f"no limit {text!r}", ["--", D(text), "sleep", "0.1"])
    for text in ("1e-9", "0x1p-20", "0." + "0" * 20 + "1", "1e-5d", "1e-300"):
        add(f"short {text[:30]!r}", [D(text), "sleep", "30"], 124)
    for text in ("1e-5000", "0." + "0" * 5000 + "1", "0x1p-99999", "1e-10000d"):
        add(f"too small to tell {text[:20]!r}", [D(text), "sleep", "30"], 124, since=(9, 6))
    add("KILL after too little to tell", ["-s", "CONT", "-k", "1e-5000", D("0.05"), "sleep", "30"], -9, since=(9, 6),
        run={"status": 137})
    add("KILL after for ever", ["-k", "inf", D("0.05"), "sleep", "30"], 124)
    add("KILL after hexadecimal", ["-k", "0x10", D("0.05"), "sleep", "30"], 124)
    add("time that others give", [D("30"), *sh("exit 3")], 3, environment={"LC_ALL": "C.UTF-8"})


# ---- signals

def signals():
    forms = {"TERM": "TERM", "SIGTERM": "TERM", "SigTerm": "TERM", "15": "TERM", "143": "TERM", "271": "TERM", "SIG15": "TERM",
             "IOT": "ABRT", "POLL": "IO", "usr2": "USR2", "STKFLT": "STKFLT", "RTMIN": "RTMIN", "34": "RTMIN",
             "rtmin+2": "NUM36", "RTMAX": "RTMAX", "RTMAX-1": "NUM63", "sigrtmax-1": "NUM63", "64": "RTMAX", "191": "NUM63"}
    for form, name in forms.items():
        add(f"signal {form}", ["-s", form, "--preserve-status", D("30"), "perl", "-e", NAMES], 5, f"ready\n{name}\n",
            send=["ALRM"])
    add("CLD is a signal", ["-s", "CLD", D("30"), "true"])
    # Ignored by the caller.
    for name in ("TERM", "INT", "USR1", "HUP", "RTMIN"):
        number = signal.Signals["SIG" + name] if name != "RTMIN" else signal.SIGRTMIN
        add(f"{name} was ignored, and ends it", ["-s", name, D("0.05"), "sleep", "30"], 124, ignored=[number])
    add("TERM was ignored, and ends those below", [D("30"), *sh(f"{LIVE} & echo ready; wait")], 124, "ready\n",
        ignored=[signal.SIGTERM], send=["ALRM"], alive=False)
    add("TERM was ignored, and is passed on", [D("30"), *sh(STAY)], -15, "ready\n", ignored=[signal.SIGTERM], send=["TERM"])
    add("what else is ignored stays so", [D("30"), *sh("kill -USR1 $$; kill -USR2 $$; exit 5")], 5,
        ignored=[signal.SIGUSR1, signal.SIGUSR2])
    add("HUP that is ignored stays so", [D("30"), *sh("kill -HUP $$; exit 5")], 5, ignored=[signal.SIGHUP], since=(9, 10))
    add("TERM that is ignored stays so for another signal", ["-s", "INT", D("30"), *sh("kill -TERM $$; exit 5")], 5,
        ignored=[signal.SIGTERM], since=(9, 10))
    add("HUP that is ignored is not passed on", [D("30"), *sh("echo ready; sleep 0.1; exit 5")], 5, "ready\n",
        ignored=[signal.SIGHUP], send=["HUP"], since=(9, 10))
    add("ALRM was ignored", [D("0.05"), "sleep", "30"], 124, ignored=[signal.SIGALRM])
    add("ALRM was ignored, and is the timeout", [D("30"), *sh(STAY)], 124, "ready\n", ignored=[signal.SIGALRM], send=["ALRM"])
    add("CHLD was ignored", [D("30"), *sh("exit 3")], 3, ignored=[signal.SIGCHLD])
    add("PIPE was ignored", [D("30"), *sh("kill -PIPE $$; exit 5")], 5, ignored=[signal.SIGPIPE])
    add("ignored ones are told", [D("30"), "grep", "SigIgn", "/proc/self/status"], 0, "SigIgn:\t%016x\n" % (1 << 9 | 1 << 15),
        ignored=[signal.SIGUSR1, signal.SIGSTKFLT])
    # Blocked by the caller.
    add("TERM is blocked, then KILL", ["-k", "0.05", D("0.05"), "sleep", "30"], -9, blocked=[signal.SIGTERM], run={"status": 137})
    add("TERM is blocked", [D("0.05"), "sleep", "1"], 124, blocked=[signal.SIGTERM])
    add("TERM is blocked, its status", ["--preserve-status", D("0.05"), "perl", "-e", "select undef, undef, undef, 1; exit 7"], 7, blocked=[signal.SIGTERM])
    add("TERM is blocked, and not passed on", [D("30"), *sh("echo ready; sleep 0.2; exit 5")], 5, "ready\n",
        blocked=[signal.SIGTERM], send=["TERM"])
    add("ALRM was blocked", [D("0.05"), "sleep", "30"], 124, blocked=[signal.SIGALRM])
    add("CHLD was blocked", [D("30"), *sh("exit 3")], 3, blocked=[signal.SIGCHLD])
    add("blocked ones are told", [D("30"), "grep", "SigBlk", "/proc/self/status"], 0, "SigBlk:\t%016x\n" % (1 << 9 | 1 << 14),
        blocked=[signal.SIGUSR1, signal.SIGTERM])
    add("nothing is blocked", [D("30"), "grep", "SigBlk", "/proc/self/status"], 0, "SigBlk:\t%016x\n" % 0)
    # Sent to it.
    for name, number in (("TERM", 15), ("INT", 2), ("QUIT", 3), ("HUP", 1)):
        add(f"{name} is passed on", [D("30"), *sh(STAY)], -number, "ready\n", send=[name])
        add(f"{name} is passed on, and caught", [D("30"), *sh(f"trap 'exit 8' {name}; echo ready; sleep 5 & wait")], 8, "ready\n",
            send=[name])
    for name, number in (("USR1", 10), ("USR2", 12), ("RTMIN", 34), ("XCPU", 24), ("PIPE", 13), ("VTALRM", 26), ("IO", 29)):
        add(f"{name} is passed on", [D("30"), *sh("ulimit -c 0; " + STAY)], -number, "ready\n", send=[name], since=(9, 10))
    add("the signal that was chosen is passed on", ["-s", "USR1", D("30"), *sh(STAY)], -10, "ready\n", send=["USR1"])
    add("with KILL after it", ["-k", "0.05", D("30"), *sh("trap '' INT; " + STAY)], -9, "ready\n", send=["INT"])
    add("TERM with KILL after it", ["-k", "0.05", D("30"), *sh("trap '' TERM; " + STAY)], -9, "ready\n", send=["TERM"])
    add("ALRM is the timeout", [D("30"), *sh(STAY)], 124, "ready\n", send=["ALRM"])
    add("ALRM is the timeout, without a limit", [D("0"), *sh(STAY)], 124, "ready\n", send=["ALRM"])
    add("ALRM is the timeout, its status", ["--preserve-status", D("30"), *sh(STAY)], 143, "ready\n", send=["ALRM"])
    add("STOP and CONT do not end it", [D("30"), *sh("echo ready; sleep 0.2; exit 5")], 5, "ready\n", send=["STOP", "CONT"])
    add("its own death ends the command", [D("30"), *sh(f"{LIVE} & echo ready; wait")], -9, None, send=["KILL"],
        since=None)


# ---- what is left

def leftovers():
    add("left behind", [D("30"), *sh(f"{LIVE} & exit 4")], 4, alive=True, run={"alive": False})
    add("left behind in a session", [D("30"), *sh(f"setsid sh -c '{LIVE}' & exit 4")], 4, alive=True, run={"alive": False})
    add("its group at the end of the time", [D("30"), *sh(f"{LIVE} & echo ready; sleep 30")], 124, "ready\n", send=["ALRM"],
        alive=False)
    add("its group by TERM", [D("30"), *sh(f"{LIVE} & echo ready; exec sleep 30")], -15, "ready\n", send=["TERM"], alive=False)
    add("its group by INT", [D("30"), "perl", "-e", "$| = 1; unless (fork) { open $f, '<&=8'; open $t, '>&=9'; <$f>; "
        "syswrite $t, \"alive\\n\"; exit } print \"ready\\n\"; sleep 30"], -2, "ready\n", send=["INT"], alive=False)
    add("not what is in a session", [D("30"), *sh(f"setsid sh -c 'echo ready; {LIVE}' & exec sleep 30")], 124, "ready\n",
        send=["ALRM"], alive=True, run={"alive": False})
    add("not its children, foreground", ["--foreground", D("30"), *sh(f"{LIVE} & echo ready; exec sleep 30")], 124, "ready\n",
        send=["ALRM"], alive=True, run={"alive": False})
    add("its group by KILL", ["-s", "KILL", D("30"), *sh(f"trap '' TERM; {LIVE} & echo ready; exec sleep 30")], -9, "ready\n",
        send=["ALRM"], alive=False, run={"status": 137})
    add("its group ignores TERM, and stays", [D("30"), *sh(f"(trap '' TERM; echo ready; {LIVE}) & exec sleep 30")], 124, "ready\n",
        send=["ALRM"], alive=True, run={"alive": False})


# ---- around the command

def surroundings():
    add("standard input", [D("30"), "cat"], 0, "through\n", stdin=b"through\n")
    add("closed standard input", [D("30"), *sh("test -e /proc/$$/fd/0 && echo open || echo closed")], 0, "closed\n", closed=[0])
    add("closed standard output", [D("30"), "echo", "text"], 1, closed=[1])
    add("closed standard error", [D("30"), *sh("test -e /proc/$$/fd/2 && echo open || echo closed")], 0, "closed\n", closed=[2])
    add("descriptors", [D("30"), "perl", "-e", "print join ' ', grep { -e \"/proc/$$/fd/$_\" } 0 .. 200"], 0, "0 1 2 8 9")
    add("environment", [D("30"), *sh("echo \"$MARK\"")], 0, "mark\n", environment={"MARK": "mark"})
    add("eight descriptors", [D("30"), *sh("ulimit -n; exit 3")], 3, "8\n", files=8)
    add("eight descriptors, and the time is over", [D("30"), *sh(STAY)], 124, "ready\n", files=8, send=["ALRM"])
    add("eight descriptors, and TERM is passed on", [D("30"), *sh(STAY)], -15, "ready\n", files=8, send=["TERM"])
    add("eight descriptors, then KILL", ["-s", "CONT", "-k", "0.05", D("0.05"), "sleep", "30"], -9, files=8,
        run={"status": 137})
    group = sh("ps -o pgid= -p $$ | tr -d ' '")
    add("its own group", [D("30"), *group], 0, "{its own}\n", run={"out": "{its caller's}\n"})
    add("its caller's group", ["--foreground", D("30"), *group], 0, "{its caller's}\n")
    add("the limit is the caller's", [D("30"), *sh("ulimit -n")], 0, "256\n", files=256)
    add("core dumped", [D("30"), *sh("ulimit -c unlimited; cd {work}; kill -SEGV $$")], -11,
        err="timeout: the monitored command dumped core\n", since=(9, 1))


# ---- what it says

def words():
    sending = "timeout: sending signal {} to command '{}'\n"
    add("verbose", ["-v", D("0.05"), "sleep", "30"], 124, err=sending.format("TERM", "sleep"))
    add("verbose, all of it", ["--verbose", "-k", "0.05", D("30"), *sh("trap '' TERM; " + STAY)], -9, "ready\n", send=["ALRM"],
        err=sending.format("TERM", "sh") + sending.format("KILL", "sh"), run={"status": 137})
    add("verbose, of a signal", ["-v", D("30"), *sh(STAY)], -2, "ready\n", send=["INT"], err=sending.format("INT", "sh"))
    add("verbose, of TERM", ["-v", D("30"), *sh(STAY)], -15, "ready\n", send=["TERM"], err=sending.format("TERM", "sh"))
    add("verbose, in time", ["-v", D("30"), "true"], 0, err="")
    for form, name in (("RTMIN", "RTMIN"), ("35", "RTMIN+1"), ("RTMAX-1", "RTMAX-1"), ("64", "RTMAX"), ("IOT", "ABRT")):
        add(f"verbose, signal {form}", ["-v", "-s", form, D("0.05"), "sleep", "30"], 124, err=sending.format(name, "sleep"))
    add("verbose, signal 0", ["-v", "-s", "0", "-k", "0.05", D("0.05"), "sleep", "30"], -9, since=(9, 10),
        err=sending.format("0", "sleep") + sending.format("KILL", "sleep"), run={"status": 137})
    add("silent", [D("0.05"), "sleep", "30"], 124, err="")


# ---- one in another

def nesting():
    add("inner time", [D("30"), "{self}", "0.05", "sleep", "30"], 124)
    add("outer time", [D("0.3"), "{self}", "30", "sleep", "30"], 124)
    add("outer time, by another signal", ["-s", "INT", D("0.3"), "{self}", "30", "sleep", "30"], 124)
    add("inner status", [D("30"), "{self}", "30", *sh("exit 9")], 9)
    add("inner KILL", [D("30"), "{self}", "-s", "KILL", "0.05", "sleep", "30"], -9, run={"status": 137})
    add("outer KILL ends all", ["-s", "KILL", D("30"), "{self}", "30", *sh(f"{LIVE} & echo ready; exec sleep 30")], -9, "ready\n",
        send=["ALRM"], run={"status": 137, "alive": False})


# ---- running them

def version_of_timeout():
    text = subprocess.run(["timeout", "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"timeout \(GNU coreutils\) (\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def command_of(subject, scenario):
    """The words of the command line, and those that stand for it in itself."""
    arguments = list(scenario.arguments)
    begin = {"timeout": ["timeout"], "link": [LINK], "run": [CTXTOOL, "run"], "run -t": [CTXTOOL, "run"]}[subject]
    if subject == "run -t":
        for at, word in enumerate(arguments):
            if isinstance(word, D):
                dashes = arguments[:at][-1:] == ["--"]
                arguments[at - dashes:at + 1] = [f"--timeout={word}"] + ["--"] * dashes
                break
    for at, word in enumerate(arguments):
        if word == "{self}":
            arguments[at:at + 1] = begin
    return begin + [word.replace("{work}", WORK) for word in arguments]


def become(subject, scenario, descriptors):
    """In the child: descriptors are what 0, 1, 2, 8 and 9 are to be."""
    environment = {**os.environ, "LC_ALL": "C"}
    for name, value in (scenario.environment or {}).items():
        environment.pop(name, None)
        if value is not None:
            environment[name] = value.replace("{work}", WORK)
    for number, fd in descriptors.items():
        os.dup2(fd, number)
    os.closerange(3, 8)
    os.closerange(10, 1024)
    for number in range(1, 65):
        if number not in (9, 19, 32, 33):
            signal.signal(number, signal.SIG_IGN if number in scenario.ignored else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, scenario.blocked)
    for fd in scenario.closed:
        os.close(fd)
    if scenario.files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (scenario.files, scenario.files))
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    command = command_of(subject, scenario)
    os.execve(command[0] if command[0] != "timeout" else "/usr/bin/timeout", command, environment)


def start(subject, scenario, descriptors):
    pid = os.fork()
    if pid == 0:
        try:
            become(subject, scenario, descriptors)
        finally:
            traceback.print_exc()
            os._exit(99)
    return pid


def pipe():
    """With numbers above those that a command gets."""
    low = os.pipe()
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20) for fd in low]
    for fd in low:
        os.close(fd)
    return high


class Outcome:
    def __init__(self, status, out, err, alive):
        self.status, self.out, self.err, self.alive = status, out, err, alive


def read_some(fd, seen):
    """Adds to seen; False at the end."""
    if not select.select([fd], [], [], PATIENCE_S)[0]:
        raise TimeoutError(f"nothing more after {bytes(seen)!r}")
    part = os.read(fd, 4096)
    seen += part
    return bool(part)


def await_end(pid):
    pidfd = os.pidfd_open(pid)
    ended = select.select([pidfd], [], [], PATIENCE_S)[0]
    os.close(pidfd)
    if not ended:
        os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    if not ended:
        raise TimeoutError("it does not end")
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def attempt(subject, scenario):
    input_read, input_write, out_read, out_write, mark_read, mark, hold, hold_write = pipe() + pipe() + pipe() + pipe()
    errors = tempfile.TemporaryFile()
    descriptors = {0: input_read, 1: out_write, 2: errors.fileno()}
    if not scenario.files:
        descriptors.update({8: hold, 9: mark})
    out, said = bytearray(), bytearray()
    pid = start(subject, scenario, descriptors)
    for fd in (input_read, out_write, mark):
        os.close(fd)
    while scenario.send and b"ready\n" not in out and read_some(out_read, out):
        pass
    for name in scenario.send:
        os.kill(pid, signal.SIGRTMIN if name == "RTMIN" else signal.Signals["SIG" + name])
    if scenario.stdin:
        os.write(input_write, scenario.stdin)
    os.close(input_write)
    status = await_end(pid)
    # Those who still live say so, now, and end.
    os.write(hold_write, b"go\n" * 4)
    for fd, text in ((mark_read, said), (out_read, out)):
        while read_some(fd, text):
            pass
    for fd in (out_read, mark_read, hold, hold_write):
        os.close(fd)
    with errors:
        errors.seek(0)
        err = errors.read().decode(errors="replace")
    # Its own name is what differs, and for `ctxtool run` the words around.
    err = err.replace(LINK, "timeout").replace("ctxtool run: ", "timeout: ").replace(WORK, "{work}")
    text = out.decode(errors="replace")
    # Without the two signals that the C library keeps for itself: whoever starts this may have them ignored.
    text = re.sub(r"(?<=SigIgn:\t)[0-9a-f]{16}", lambda bits: f"{int(bits[0], 16) & 0x7fffffff:016x}", text)
    for group, name in ((pid, "{its own}"), (os.getpgrp(), "{its caller's}")):
        text = re.sub(rf"^{group}$", name, text)
    return Outcome(status, text, err, b"alive" in said)


def differences(subject, scenario, outcome):
    status = scenario.expected(subject, "status")
    if subject.startswith("run"):
        status = scenario.run.get("operand" if subject == "run" else "option", status)
    if status != outcome.status:
        yield f"status {outcome.status}, not {status}" + (f": {outcome.err.strip()[:100]}" if outcome.err else "")
    for what in ("out", "err", "alive"):
        wanted, got = scenario.expected(subject, what), getattr(outcome, what)
        if wanted is not None and wanted != got:
            yield f"{what} {got!r}, not {wanted!r}"


def try_scenario(subject, scenario):
    try:
        return [f"{scenario.name}: {subject}: {text}" for text in differences(subject, scenario, attempt(subject, scenario))]
    except Exception:
        return [f"{scenario.name}: {subject}: {traceback.format_exc()}"]


def subjects_of(scenario, version):
    if scenario.since and version >= scenario.since:
        yield "timeout"
    yield "link"
    yield "run"
    if scenario.option and any(isinstance(word, D) for word in scenario.arguments):
        yield "run -t"


def run_scenario(scenario, version):
    lines = []
    for subject in subjects_of(scenario, version):
        wrong = try_scenario(subject, scenario)
        # timeout(1) signals a command twice, by itself and with its group: now and then the second one ends what
        # has just caught the first.
        # On a busy machine the deadline of a few milliseconds can have passed before the command starts.
        late = any("the deadline of its context had passed" in line for line in wrong)
        for _ in range(4 if subject == "timeout" else 20 if late else 0):
            wrong = wrong and try_scenario(subject, scenario)
        lines += wrong
    return lines


def make_files():
    os.mkdir(os.path.dirname(LINK))
    os.symlink(CTXTOOL, LINK)
    os.mkdir(os.path.join(WORK, "closed"))
    script = "echo \"plain <$1> <$2>\"\nexit 4\n"
    for name, text, mode in (("file", "no program\n", 0o644), ("orphan", "#!/none/of/that/name\n", 0o755), ("empty", "", 0o755),
                             ("plain", script, 0o755), ("closed/plain", script, 0o644), ("stayer", STAY + "\n", 0o755),
                             ("7up", "#!/bin/sh\nexit 7\n", 0o755)):
        path = os.path.join(WORK, name)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        os.chmod(path, mode)
    os.symlink("loop", os.path.join(WORK, "loop"))


def run_all(version):
    """Each scenario in a process of its own, some at a time; returns the lines of what is wrong, by scenario."""
    waiting, running, wrong = list(SCENARIOS), {}, []
    while waiting or running:
        while waiting and len(running) < PARALLEL:
            scenario = waiting.pop(0)
            reading, writing = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(reading)
                os.setpgid(0, 0)
                os.write(writing, "\n".join(run_scenario(scenario, version)).encode()[:60000])
                os._exit(0)
            os.close(writing)
            running[reading] = pid
        for reading in select.select(list(running), [], [])[0]:
            with os.fdopen(reading) as file:
                text = file.read()
            os.waitpid(running.pop(reading), 0)
            if text:
                wrong.append(text)
    return wrong


def main():
    make_files()
    for family in (endings, commands, usage, durations, signals, leftovers, surroundings, words, nesting):
        known = len(SCENARIOS)
        family()
        for scenario in SCENARIOS[known:]:
            scenario.option = family in (endings, commands, usage, durations)
    wanted = sys.argv[2] if len(sys.argv) > 2 else ""
    SCENARIOS[:] = [scenario for scenario in SCENARIOS if wanted in scenario.name]
    version = version_of_timeout()
    wrong = run_all(version)
    print("\n".join(wrong))
    compared = sum(1 for scenario in SCENARIOS if scenario.since and version >= scenario.since)
    print(f"{len(SCENARIOS)} scenarios, {compared} of them beside timeout {version[0]}.{version[1]}: {len(wrong)} differ")
    subprocess.run(["rm", "-rf", WORK], check=False)
    return 1 if wrong else 0


sys.exit(main())

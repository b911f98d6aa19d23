# SPDX-License-Identifier: GPL-2.0
"""The names of signals and of their causes, as strace prints them. Pure.

The numbers are those of x86 and arm64.
"""

_NAMES = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP"
    " TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS RTMIN"
)
_SIGNALS = [f"SIG{name}" for name in _NAMES.split()]
_FIRST_REAL_TIME = 32
_MOST = 64

# Of any signal: include/uapi/asm-generic/siginfo.h of the kernel.
_CODES = {
    0x80: "SI_KERNEL",
    0: "SI_USER",
    -1: "SI_QUEUE",
    -2: "SI_TIMER",
    -3: "SI_MESGQ",
    -4: "SI_ASYNCIO",
    -5: "SI_SIGIO",
    -6: "SI_TKILL",
    -7: "SI_DETHREAD",
    -60: "SI_ASYNCNL",
}
# Of one signal, from 1 on.
_CODES_OF = {
    "SIGILL": "ILL_ILLOPC ILL_ILLOPN ILL_ILLADR ILL_ILLTRP ILL_PRVOPC ILL_PRVREG ILL_COPROC"
    " ILL_BADSTK ILL_BADIADDR",
    "SIGFPE": "FPE_INTDIV FPE_INTOVF FPE_FLTDIV FPE_FLTOVF FPE_FLTUND FPE_FLTRES FPE_FLTINV"
    " FPE_FLTSUB",
    "SIGSEGV": "SEGV_MAPERR SEGV_ACCERR SEGV_BNDERR SEGV_PKUERR SEGV_ACCADI SEGV_ADIDERR"
    " SEGV_ADIPERR SEGV_MTEAERR SEGV_MTESERR",
    "SIGBUS": "BUS_ADRALN BUS_ADRERR BUS_OBJERR BUS_MCEERR_AR BUS_MCEERR_AO",
    "SIGTRAP": "TRAP_BRKPT TRAP_TRACE TRAP_BRANCH TRAP_HWBKPT TRAP_UNK TRAP_PERF",
    "SIGCHLD": "CLD_EXITED CLD_KILLED CLD_DUMPED CLD_TRAPPED CLD_STOPPED CLD_CONTINUED",
    "SIGIO": "POLL_IN POLL_OUT POLL_MSG POLL_ERR POLL_PRI POLL_HUP",
    "SIGSYS": "SYS_SECCOMP SYS_USER_DISPATCH",
}


def signal_name(number: int) -> str:
    """Return the name of a signal: ``SIGTERM`` for 15, ``SIGRT_3`` for 35."""
    if 0 < number <= len(_SIGNALS):
        return _SIGNALS[number - 1]
    return f"SIGRT_{number - _FIRST_REAL_TIME}"


# All signals by their numbers.
SIGNALS = {number: signal_name(number) for number in range(1, _MOST + 1)}


def code_name(signal: int, code: int) -> str:
    """Return the name of a signal's cause: ``CLD_EXITED`` for 1 of SIGCHLD.

    Args:
        signal: the signal's number.
        code: its ``si_code``; if it has no name, its value is returned in hexadecimal.
    """
    if code in _CODES:
        return _CODES[code]
    names = _CODES_OF.get(signal_name(signal), "").split()
    return names[code - 1] if 0 < code <= len(names) else f"{code & 0xFFFFFFFF:#x}"

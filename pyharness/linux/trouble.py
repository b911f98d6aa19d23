# SPDX-License-Identifier: GPL-2.0
"""Find a kernel's reports of trouble (oops, panic, hang …) in its log. Pure.

A log is a serial console's output, or what dmesg prints. The kernel's lines begin with
a timestamp; those of programs that write to the same console do not.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

WARNING = "warning"  # the only kind after which a kernel continues normally
_UNDEFINED = "undefined behaviour"
# How each kind of report begins, as the kernel's code prints it. The first match decides.
_KINDS = (
    ("panic", r"(?<!end )Kernel panic - not syncing"),
    ("double fault", r"PANIC: double fault|traps: PANIC|double fault:"),
    ("stack overflow", r"BUG: (?:\w+ )?stack guard page was hit|kernel stack overflow"),
    ("soft lockup", r"watchdog: BUG: soft lockup"),
    ("hard lockup", r"Watchdog detected hard LOCKUP|Uhhuh\. NMI received for unknown reason"),
    ("stall", r"(?:rcu: )?INFO: rcu_\w+ .*(?:stall|detected)"),
    ("hung task", r"INFO: task .* blocked for more than"),
    ("scheduling while atomic", r"BUG: scheduling while atomic|sleeping function called from"),
    ("oops", r"BUG: kernel NULL|BUG: unable to handle|BUG: kernel|Unable to handle kernel"
             r"|general protection fault|Oops: |Oops - |invalid opcode: |kernel BUG at "),
    ("memory", r"Bad page state|list_(?:add|del) corruption|Slab .*objects remaining|BUG: Bad "
               r"|refcount_t: |stack-protector: |BUG kmalloc|BUG: KASAN|BUG: KFENCE"
               r"|BUG [\w-]+ \(|pagealloc: \w+ (?:error|corruption)"),
    ("data race", r"BUG: KCSAN"),
    (_UNDEFINED, r"UBSAN: "),
    ("lock order", r"WARNING: (?:possible |suspicious RCU|inconsistent lock|bad unlock|lock held"
                   r"|held lock freed|[Nn]ested lock|\S+-safe -> |.* still has locks held)"
                   r"|BUG: (?:held lock|sleeping |Invalid wait context|.* still has locks held)"
                   r"|INFO: trying to register non-static key"),
    (WARNING, r"WARNING: (?:CPU: |\S+:\d+ at |at )|unregister_netdevice: waiting"),
    ("bug", r"BUG: "),
)  # fmt: skip
# A word that ends like one of these, such as "DEBUG: ", begins no report.
_BEGIN = [(kind, re.compile(rf"(?<![A-Za-z])(?:{pattern})")) for kind, pattern in _KINDS]
# How the other lines of a report begin.
_BODY = re.compile(
    r"\s|CPU: |Hardware name: |Comm: |PID: |Workqueue: |[ER]?IP: |[ER][A-DS][XIPL]: |R\d\d: "
    r"|[C-GS]S: |[CD]R\d: |pc : |lr : |sp : |x\d+ ?: |pstate: |Code: |Call [Tt]race:|Stack: ?"
    r"|Modules linked in: |note: |#PF: |\*p[dgum]|PGD |PTE |Internal error: |Mem abort |rcu: "
    r"|Sending NMI |NMI backtrace |INFO: NMI handler|INFO: lockdep |\"echo 0 > /proc/sys/kernel"
    r"|task:|</?\w+>|Kernel Offset: |Rebooting in |Preemption disabled |Tainted: |PKRU: |CPU\d"
    r"|EFLAGS: |Shutting down cpus|swapper pgtable|Data abort |irq event stamp|Allocated (?:by|in) "
    r"|Freed (?:by|in) |Object |Slab 0x|Redzone |Padding |-{70}|0x[0-9a-f]+-0x|FIX "
    r"|page:|raw:|flags: |[A-Z]SR |FS: |SMP NOPTI|Fixing recursive fault"
    r"|Do you have a strange power saving|Dazed and confused|\d+ locks? held by|no locks held by"
    r"|(?:hard|soft)irqs last |KASAN: |in_atomic\(\)|preempt_count: |RCU nest|caller is "
    r"|turning off the locking correctness validator|the code is fine but needs"
)
_END = re.compile(r"---\[ end (?:trace|Kernel panic)")
# Reports of these kinds end with the _END mark. All others end with a stack trace, whose own end
# is marked on amd64.
_MARKED = ("panic", "oops", "double fault", "stack overflow", WARNING)
_STACK_END = re.compile(r"^ ?</TASK>")
_STAMP = re.compile(r"(?:<\d+>)?\[ *(\d+\.\d+)\](?:\[ *[CT]\d+\])? ?")
_TERMINAL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\x00-\x08]")
_PLACE = re.compile(
    r"(?:(?:[ER]?IP|pc) ?: (?:\w+:)?0x|page fault for address: |(?:^ |>\] )0x)"
    r"(?P<address>[0-9a-f]+)$"
    r"|(?<![\w.])[\d.]*(?P<function>[A-Za-z_][\w.]*)\+0x(?P<offset>[0-9a-f]+)/0x(?P<size>[0-9a-f]+)"
    r"(?: \[(?P<module>\w+)\])?"
)
# How a line begins whose address is one to which a function returns.
_RETURNS = (
    r"\s|\[<|BUG: unable to handle page fault|BUG: KASAN|Allocated in |Freed in |[0-9a-f]{8,} \("
)
# Reports that may have any line within them: those of the sanitizers to their end, and those of
# lockdep to their stack trace.
_FRAMED = re.compile(r"BUG: K\w*SAN|BUG: KFENCE|UBSAN: ")
_ANY_LINE = ("lock order",)
# How a framed report ends, where it has not the _END mark.
_FRAME = re.compile(r"={20,}$")
# The length at which a report without an end is cut off (lines).
_LINES = 400
# WARN() prints its message, mostly one line, between this mark and the report.
_CUT_HERE = "[ cut here ]"
# How far before a report the mark is looked for (lines).
_MESSAGE_LINES = 20
# A kernel's message has at most 1,024 bytes (its LOG_LINE_MAX). What follows in a longer line is
# not searched: some patterns would take a time that grows with the square of the length.
_LONGEST = 1024
# How many foreign lines in succession may interrupt a report.
_STRANGERS = 8
# A line whose timestamp is this much later than the line before is not of the same report.
_PAUSE_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True)
class Report:
    """One report of trouble.

    Attributes:
        kind: the sort of trouble: ``panic``, ``oops``, ``hung task`` …
        lines: the report's lines in order, without timestamps.
        whole: whether the report has its usual end; if not, it was cut off.
    """

    kind: str
    lines: tuple[str, ...]
    whole: bool

    @property
    def title(self) -> str:
        """The report's first line."""
        return self.lines[0]

    def __str__(self) -> str:
        cut = () if self.whole else ("(the report breaks off here)",)
        return "\n".join((*self.lines, *cut))


@dataclass(frozen=True, kw_only=True)
class CodeLocation:
    """A place in the kernel's code, as a line of a report names it.

    Either ``function+0xoffset/0xsize [module]``, or only an address.

    Attributes:
        function: the function's name; empty if only the address is known.
        offset: from the function's beginning, in bytes.
        size: the function's size, in bytes.
        module: the module that has the function; empty for the kernel itself.
        address: the address where no function is known, as of a module that was unloaded;
            0 otherwise.
    """

    function: str = ""
    offset: int = 0
    size: int = 0
    module: str = ""
    address: int = 0


def kind_of(line: str) -> str:
    """The kind of report that begins with a line; empty if none does."""
    return next((kind for kind, pattern in _BEGIN if pattern.search(line, 0, _LONGEST)), "")


def is_trouble(text: str) -> bool:
    """Whether any line of a kernel's message begins a report of trouble."""
    return any(kind_of(line) for line in text.splitlines())


@dataclass
class _Line:
    when: float | None
    text: str


def _kernel_lines(text: str) -> list[_Line]:
    """The lines of a log that have a timestamp, and so are the kernel's; all lines if none has.

    What is longer than a message of the kernel is cut off.
    """
    lines = []
    for raw in _TERMINAL.sub("", text).split("\n"):
        # The timestamp may be in mid-line: a program had begun the line.
        stamp = _STAMP.search(raw)
        begin = stamp.end() if stamp else 0
        when = float(stamp[1]) if stamp else None
        lines.append(_Line(when, raw[begin : begin + _LONGEST]))
    stamped = [line for line in lines if line.when is not None]
    return stamped or lines


class _Open:
    """A report whose end has not been read yet."""

    def __init__(self, kind: str, first: _Line) -> None:
        self.kind = kind
        self.lines: list[str] = []
        self.framed = _FRAMED.search(first.text) is not None
        self.marked = False  # whether it ends with the _END mark
        self.has_stack = False  # whether a stack trace, which is near the end, has begun
        self.strangers = 0
        self.when = first.when

    def takes(self, line: _Line, kind: str) -> bool:
        """Add a line, of which kind_of() is known, if it belongs to the report.

        Returns:
            Whether the report goes on. It does after a few foreign lines, too: those of other
            programs and CPUs may stand in between.
        """
        if (
            not self.lines
            or self.framed
            or (self.kind in _ANY_LINE and not self.has_stack)
            or _BODY.match(line.text)
            or _END.search(line.text)
            or kind
        ):
            self.lines.append(line.text.rstrip())
            self.marked |= self.kind in _MARKED or kind in _MARKED
            self.has_stack |= line.text.startswith(("Call Trace:", "Call trace:"))
            self.strangers = 0
            self.when = line.when
            return True
        self.strangers += 1
        return self.strangers <= _STRANGERS

    def is_over(self, line: _Line, kind: str) -> bool:
        """Whether the report ended before this line.

        It did if the line comes too late, begins another report, or the report is too long.
        """
        late = (
            line.when is not None
            and self.when is not None
            and line.when - self.when > _PAUSE_SECONDS
        )
        # A crash, or what a sanitizer has found, is a report of its own even within another's head.
        worse = self.kind == WARNING and kind not in ("", WARNING, "bug")
        another = kind != "" and (self.has_stack or worse) and not self.framed
        return late or another or len(self.lines) >= _LINES

    def ends_with(self, line: _Line) -> bool:
        """Whether this line, which was added to the report, is the last one."""
        if self.framed:
            return self._closes(line.text)
        return bool(_END.search(line.text) or (not self.marked and _STACK_END.match(line.text)))

    def _closes(self, line: str) -> bool:
        """Whether a line ends the frame; UBSAN has the _END mark from 6.12 on, and no others'."""
        return bool(_FRAME.match(line) or (self.kind == _UNDEFINED and _END.search(line)))

    def closed(self) -> Report:
        return Report(kind=self.kind, lines=tuple(self.lines), whole=self._is_whole())

    def _is_whole(self) -> bool:
        """Whether the report is complete.

        A crash's report ends with the _END mark, one of a sanitizer with its frame, any other with
        a stack. A single line is complete.
        """
        if self.framed:
            return any(map(self._closes, self.lines))
        if any(_END.search(line) for line in self.lines) or len(self.lines) == 1:
            return True
        return not self.marked and self.has_stack


def reports(text: str) -> list[Report]:
    """Find the reports of trouble in a log, in their order.

    Args:
        text: a saved log, or a serial console's output.
    """
    return list(_reports(_kernel_lines(text)))


def _reports(lines: list[_Line]) -> Iterator[Report]:
    current: _Open | None = None
    for line in lines:
        kind = kind_of(line.text)
        if current and (current.is_over(line, kind) or not current.takes(line, kind)):
            yield current.closed()
            current = None
        elif current and current.ends_with(line):
            yield current.closed()
            current = None
            continue
        if kind and current is None:
            current = _Open(kind, line)
            current.takes(line, kind)
    if current:
        yield current.closed()


@dataclass(frozen=True, kw_only=True)
class Said:
    """A report, and the message that the kernel printed before it.

    Attributes:
        report: the report.
        text: the message that WARN() was given, if any, and then the report.
    """

    report: Report
    text: str


def with_message(text: str) -> list[Said]:
    """Find the reports of trouble in a log, each with the message that WARN() was given.

    Args:
        text: a saved log, or a serial console's output.
    """
    lines = [line.text.rstrip() for line in _kernel_lines(text)]
    found, at = [], 0
    for report in reports(text):
        begin, at = at, lines.index(report.title, at)
        before = _message(lines[max(begin, at - _MESSAGE_LINES) : at])
        found.append(Said(report=report, text="\n".join((*before, *report.lines))))
        at += 1
    return found


def _message(lines: list[str]) -> list[str]:
    """The lines directly before a report that belong to it: those after _CUT_HERE, if any."""
    marks = [place for place, line in enumerate(lines) if _CUT_HERE in line or _END.search(line)]
    return lines[marks[-1] + 1 :] if marks and _CUT_HERE in lines[marks[-1]] else []


def annotate(text: str, line_of: Callable[[CodeLocation], str]) -> str:
    """Append the source line to each line of a report that names a place in code.

    Args:
        text: the report.
        line_of: returns the ``file:line`` of a place; empty if that is unknown. For an address
            on the stack, for a page fault in code that was unloaded, for what KASAN and lockdep
            have seen, and for who allocated or freed an object, it gets the byte before: these are
            return addresses, and the call is what stands before them.
    """

    def annotated(line: str) -> str:
        if not (found := _PLACE.search(line, 0, _LONGEST)):
            return line
        returns = re.match(_RETURNS, line) is not None
        location = (
            CodeLocation(address=int(found["address"], 16) - returns)
            if found["address"]
            else CodeLocation(
                function=found["function"],
                offset=int(found["offset"], 16) - returns,
                size=int(found["size"], 16),
                module=found["module"] or "",
            )
        )
        where = line_of(location)
        return f"{line} at {where}" if where else line

    return "\n".join(map(annotated, text.splitlines()))

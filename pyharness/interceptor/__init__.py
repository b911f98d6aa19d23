# SPDX-License-Identifier: GPL-2.0
"""The client of the interceptor, the kernel module that comes with this package.

>>> import pyharness
>>> from pyharness import interceptor
>>> with pyharness.boot() as guest:
...     module = interceptor.load(guest)
...     actor = guest.actor("nobody")
...     with module.intercepted("mkdir"):
...         module.start("mkdir", actor.pid)
...         mark = guest.log.mark()
...         actor.syscall("mkdir", "/tmp", 0o755)
...         print(*module.logged(mark))
"""

from pyharness.host.bundled import MODULE
from pyharness.interceptor.call_log import Call
from pyharness.interceptor.interface import Command, Interface
from pyharness.interceptor.module import Interceptor, attach, load
from pyharness.interceptor.status import Intercepted

__all__ = [
    "MODULE",
    "Call",
    "Command",
    "Intercepted",
    "Interceptor",
    "Interface",
    "attach",
    "load",
]

"""A worker binds itself to its node's life also where the service unit forbids memory that is written and executed; and
what signs answers works there too."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from cdn.cli import worker_process

LAUNCHER = r"""
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* As MemoryDenyWriteExecute: no mapping that is written and executed, and none that becomes executable. */
int main(int count, char **words) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_mmap, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 6),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 6, 5, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_mprotect, 0, 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 4, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) return 99;
    execv(words[1], words + 1);
    return 98;
}
"""

PROGRAM = """
import mmap, os, sys
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    sys.exit("such memory is given")
except PermissionError:
    pass
from cdn.cli.parent_death import die_with
import cdn.edge.worker, cdn.dns.answering_child
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
ec.generate_private_key(ec.SECP256R1()).sign(b"x", ec.ECDSA(hashes.SHA256()))
die_with(int(sys.argv[1]))
print("bound")
"""


def test_a_worker_needs_no_memory_that_is_written_and_executed(tmp_path: Path) -> None:
    compiler = shutil.which("gcc")
    assert compiler is not None, "gcc is missing: run `sh scripts/need.sh gcc`"
    (tmp_path / "launcher.c").write_text(LAUNCHER)
    launcher = tmp_path / "launcher"
    subprocess.run([compiler, "-o", str(launcher), str(tmp_path / "launcher.c")], check=True)
    done = subprocess.run(
        [str(launcher), sys.executable, "-c", PROGRAM, str(os.getpid())],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(worker_process.__file__).parents[2])},
    )
    assert (done.returncode, done.stdout) == (0, "bound\n"), done.stderr

"""Workers that are forks of the test process, which has imported what takes them seconds."""

import gc
import os
import signal
import sys

from mocoop.protocols import execute, worker


class Forked:
    """What `subprocess.Popen` gives, of a fork in the folder of a checkout."""

    def __init__(self, descriptors: tuple[int, int], checkout, settings: dict[str, str]):
        self.returncode = None
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # whose handler here is not for the fork
        self.pid = os.fork()
        if self.pid == 0:
            try:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                _become(descriptors, checkout, settings)
            finally:
                os._exit(1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def terminate(self):
        os.kill(self.pid, signal.SIGTERM)

    def wait(self):
        self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode


def _become(descriptors, checkout, settings) -> None:
    gc.freeze()  # a worker collects after each job, here among all that the tests have imported
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    os.closerange(3, 1000)
    os.setsid()
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))
    os.environ.clear()
    os.environ.update(settings)
    os.chdir(checkout)
    sys.path.insert(0, str(checkout))
    sys.modules.pop("train", None)  # another checkout's
    worker.main()


class ForkedWorker(execute.Worker):
    def start(self):
        if self.process is not None:
            return
        self.imported = False
        (jobs, to_worker), (from_worker, answers) = os.pipe(), os.pipe()
        self.process = Forked((jobs, answers), self.checkout, self.settings)
        for descriptor in (jobs, answers):
            os.close(descriptor)
        self.stdin, self.stdout = os.fdopen(to_worker, "w", buffering=1), os.fdopen(from_worker)

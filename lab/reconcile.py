"""Brings the lab to what its AWS account says. Woken by calls of the API; it does not poll.

What is quick (firewall, names, forwards) is done in order on one thread; what takes its
time, with machines, is `lab.lives`'s.
"""

import logging
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from lab import account, addresses, dns, firewall, namespaces, network
from lab import partitions as cuts
from lab.addresses import Forwarding
from lab.api import Api
from lab.dns import Resolver
from lab.facts import Facts
from lab.lives import Lives
from lab.partitions import Cut

log = logging.getLogger(__name__)

_RETRY = 0.5
"""Seconds."""


class Reconciler:
    """The lab's machines and network, following the account."""

    def __init__(self, api: Api, image: Path, state: Path) -> None:
        self._api = api
        self._resolver = Resolver(state, self.wake)
        self._forwarding = Forwarding(self.wake)
        self.lives = Lives(api, image, self.read, self._again)
        """The machines."""
        self._wake = threading.Event()
        self._stopping = False
        self._guard = threading.Lock()
        self._loaded: dict[str, str] = {}
        self._cuts: frozenset[Cut] = frozenset()
        self._ignored: tuple[str, ...] = ()
        self._asked_at: list[str] = []
        self._unfiltered = ""
        self.facts = Facts()
        """The account as it was last read."""
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)

    def start(self) -> None:
        """Begin to follow the account."""
        self._follow()
        self._thread.start()

    def wake(self) -> None:
        """Something may have changed."""
        self._wake.set()

    def _again(self, delay: float) -> None:
        if delay:
            timer = threading.Timer(delay, self.wake)
            timer.daemon = True
            timer.start()
        else:
            self.wake()

    def close(self) -> None:
        """Follow no more; the machines and the network are still there."""
        self._stopping = True
        self.wake()
        if self._thread.is_alive():
            self._thread.join()
        self._forwarding.stop()
        self._resolver.stop()

    def finish(self) -> None:
        """Wait for what is under way with machines; quick once they have been ended."""
        self.lives.finish()

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait()
            self._wake.clear()
            if self._stopping:
                return
            try:
                self._follow()
            except Exception:
                # Whatever it is, the lab's other parts go on, and the next round may do it.
                log.exception("The lab could not follow its account; it tries again.")
                self._again(_RETRY)

    def read(self) -> Facts:
        """The account as it is now."""
        with self._api.exclusive("ec2", "route53"):
            return account.read()

    def _follow(self) -> None:
        facts = self.facts = self.read()
        self._filter(facts)
        self._load(cuts.TABLE, cuts.render(facts, self._cuts))
        names = dns.render(facts)
        if names.ignored != self._ignored:
            self._ignored = names.ignored
            log.warning("Records that the lab does not serve: %s", ", ".join(names.ignored))
        if (asked := dns.resolvers(facts)) != self._asked_at:
            network.answer_at(asked)
            self._asked_at = asked
        self._resolver.serve(names)
        self._forwarding.want(addresses.forwards(facts) | addresses.sessions(facts))
        self.lives.follow(facts)

    def _filter(self, facts: Facts) -> None:
        try:
            self._load(firewall.TABLE, firewall.render(facts))
        except network.NetworkError as error:
            # The rules of before stay, and know no machine that is new.
            if str(error) != self._unfiltered:
                log.error("%s", error)
            self._unfiltered = str(error)
        else:
            self._unfiltered = ""

    def _load(self, table: str, ruleset: str) -> None:
        with self._guard:
            if self._loaded.get(table) != ruleset:
                done = subprocess.run(
                    namespaces.inside(namespaces.ROUTER, ["nft", "-f", "-"]),
                    input=ruleset, capture_output=True, text=True, check=False,
                )  # fmt: skip
                if done.returncode:
                    msg = f"nft refused the lab's rules: {done.stderr.strip()}"
                    raise network.NetworkError(msg)
                self._loaded[table] = ruleset

    def cut(self, change: Callable[[frozenset[Cut]], frozenset[Cut]]) -> frozenset[Cut]:
        """Change what is cut; in effect on return."""
        self._cuts = change(self._cuts)
        self._load(cuts.TABLE, cuts.render(self.read(), self._cuts))
        return self._cuts

    def trouble(self) -> dict[str, object]:
        """What does not work, for the status."""
        return {
            "not listening": self._forwarding.failed,
            "not served": list(self._ignored),
            "firewall": self._unfiltered or None,
        }

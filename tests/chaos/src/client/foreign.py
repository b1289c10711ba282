"""A lock client on somebody else's library, under the orders of the chaos suite. Its argument names the library."""
import json
import logging
import random
import sys
import threading
import time

from redis import Redis

WRITE = """
local value = tonumber(redis.call('HGET', KEYS[1], 'value') or '0')
if value ~= tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'value', ARGV[1] + 1)
redis.call('RPUSH', KEYS[2], ARGV[2] .. ' - ' .. (ARGV[1] + 1))
return 1
"""


# Nodes fail all the time here; that a library says so is not news.
logging.disable()


def now():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Pottery:
    def __init__(self, urls, ttl):
        from pottery import Redlock
        self.kind, self.ttl = Redlock, ttl
        self.masters = {Redis.from_url(url, socket_timeout=0.5, socket_connect_timeout=0.5) for url in urls}

    def acquire(self, key):
        # It puts this before the name itself.
        self.lock = self.kind(key=key.removeprefix("redlock:"), masters=self.masters, auto_release_time=self.ttl)
        if not self.lock.acquire(blocking=False):
            return None
        return self.lock.locked()

    def release(self):
        self.lock.release()


class RedlockPy:
    def __init__(self, urls, ttl):
        from redlock import Redlock
        # It refuses to begin unless every node answers, and has no timeout of its own.
        nodes = [Redis.from_url(url, socket_timeout=0.5, socket_connect_timeout=0.5) for url in urls]
        self.manager, self.ttl = Redlock(nodes, retry_count=1), ttl

    def acquire(self, key):
        self.lock = self.manager.lock(key, int(self.ttl * 1000))
        return self.lock.validity / 1000 if self.lock else None

    def release(self):
        self.manager.unlock(self.lock)


orders = json.loads(sys.stdin.readline())
library = {"pottery": Pottery, "redlock-py": RedlockPy}[sys.argv[1]](orders["nodes"], orders["ttl_ms"] / 1000)
ledger = Redis.from_url(orders["ledger"])
chance = random.Random(orders["seed"])
over = threading.Event()


def tell(what, section, **more):
    print(json.dumps({"what": what, "section": section, "at": more.pop("at", None) or now(), **more}), flush=True)


def section(number):
    key = chance.choice(orders["keys"])
    tell("asked", number, keys=[key])
    try:
        left = library.acquire(key)
    except Exception as error:
        return tell("refused", number, why=type(error).__name__)
    if not left:
        return tell("refused", number, why="contended")
    at = now()
    tell("entered", number, at=at, token=None, until=at + int(left * 1e9))
    read = int(ledger.hget("record:" + key, "value") or 0)
    time.sleep(chance.randrange(8) / 1000)
    writer = f"{orders['name']}/{number}"
    accepted = ledger.eval(WRITE, 2, "record:" + key, "history:" + key, read, writer)
    tell("wrote", number, accepted=accepted == 1)
    tell("left", number)
    try:
        library.release()
    except Exception:
        pass


def listen():
    for _ in sys.stdin:
        pass
    over.set()


threading.Thread(target=listen, daemon=True).start()
print("ready", flush=True)
number = 0
while not over.is_set():
    section(number)
    number += 1
    time.sleep(chance.randint(1, orders["pause_ms"]) / 1000)

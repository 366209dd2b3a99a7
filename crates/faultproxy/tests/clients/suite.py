"""What people do with toxiproxy-python. usage: suite.py HOST PORT UPSTREAM, where UPSTREAM echoes."""

import json
import socket
import sys
import time
import traceback

from toxiproxy import Toxiproxy
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists

HOST, PORT, UPSTREAM = sys.argv[1], int(sys.argv[2]), sys.argv[3]
toxiproxy = Toxiproxy()
toxiproxy.update_api_consumer(HOST, PORT)


def round_trip(listen):
    """Seconds until a byte is back, or None when the connection is closed."""
    host, port = listen.rsplit(":", 1)
    start = time.monotonic()
    try:
        with socket.create_connection((host, int(port)), timeout=20) as stream:
            stream.sendall(b"?")
            return time.monotonic() - start if stream.recv(1) else None
    except ConnectionError:
        return None


def fails(error, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except error:
        return
    raise AssertionError("no " + error.__name__)


def it_runs():
    assert toxiproxy.running()
    assert json.loads(toxiproxy.version())["version"].startswith("2.")


def proxies_are_created_found_and_destroyed():
    proxy = toxiproxy.create(name="python", upstream=UPSTREAM)
    assert (proxy.name, proxy.upstream, proxy.enabled) == ("python", UPSTREAM, True)
    assert not proxy.listen.endswith(":0")
    fails(ProxyExists, toxiproxy.create, name="python", upstream=UPSTREAM)
    assert list(toxiproxy.proxies()) == ["python"]
    assert toxiproxy.get_proxy("python").listen == proxy.listen
    assert toxiproxy.get_proxy("nobody") is None
    assert round_trip(proxy.listen) is not None
    with proxy.down():
        assert round_trip(proxy.listen) is None
    assert round_trip(proxy.listen) is not None
    toxiproxy.destroy(proxy)
    fails(NotFound, toxiproxy.destroy, proxy)


def a_proxy_can_begin_disabled():
    proxy = toxiproxy.create(name="off", upstream=UPSTREAM, listen="127.0.0.1:0", enabled=False)
    assert not proxy.enabled
    toxiproxy.destroy_all()
    assert toxiproxy.proxies() == {}


def a_list_is_populated():
    made = toxiproxy.populate([
        {"name": "one", "upstream": UPSTREAM, "listen": "127.0.0.1:0"},
        {"name": "two", "upstream": UPSTREAM, "listen": "127.0.0.1:0"},
    ])
    assert [proxy.name for proxy in made] == ["one", "two"]
    assert sorted(toxiproxy.proxies()) == ["one", "two"]
    toxiproxy.destroy_all()


def toxics_are_added_and_destroyed():
    proxy = toxiproxy.create(name="toxics", upstream=UPSTREAM)
    proxy.add_toxic(type="latency", attributes={"latency": 123})
    proxy.add_toxic(type="limit_data", stream="upstream", name="few", toxicity=0.7, attributes={"bytes": 5})
    toxics = proxy.toxics()
    assert sorted(toxics) == ["few", "latency_downstream"]
    assert toxics["latency_downstream"].attributes == {"latency": 123, "jitter": 0}
    assert toxics["latency_downstream"].toxicity == 1.0
    assert (toxics["few"].stream, toxics["few"].toxicity) == ("upstream", 0.7)
    fails(ProxyExists, proxy.add_toxic, type="latency")
    fails(InvalidToxic, proxy.add_toxic, type="rain")
    fails(InvalidToxic, proxy.add_toxic, type="latency", stream="sideways")
    proxy.destroy_toxic("few")
    assert proxy.get_toxic("few") is None
    fails(NotFound, proxy.destroy_toxic, "few")
    toxiproxy.destroy_all()


def latency_is_felt_and_a_reset_undoes_it():
    proxy = toxiproxy.create(name="slow", upstream=UPSTREAM)
    proxy.add_toxic(type="latency", attributes={"latency": 120})
    assert round_trip(proxy.listen) >= 0.12
    proxy.disable()
    toxiproxy.reset()
    assert round_trip(proxy.listen) < 0.12
    assert proxy.toxics() == {}
    toxiproxy.destroy_all()


failed = 0
for step in (
    it_runs,
    proxies_are_created_found_and_destroyed,
    a_proxy_can_begin_disabled,
    a_list_is_populated,
    toxics_are_added_and_destroyed,
    latency_is_felt_and_a_reset_undoes_it,
):
    try:
        step()
        print("ok", step.__name__)
    except Exception:
        failed += 1
        print("FAILED", step.__name__, traceback.format_exc())
sys.exit(1 if failed else 0)

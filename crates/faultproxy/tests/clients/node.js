// What people do with toxiproxy-node-client. usage: node node.js API UPSTREAM, where UPSTREAM echoes.
"use strict";

const assert = require("node:assert/strict");
const net = require("node:net");
const { Toxiproxy } = require("toxiproxy-node-client");

const [api, upstream] = process.argv.slice(2);
const toxiproxy = new Toxiproxy(api);

const connect = (listen) => {
  const at = listen.lastIndexOf(":");
  return net.connect({ host: listen.slice(0, at), port: Number(listen.slice(at + 1)), noDelay: true });
};

/** Milliseconds until a byte is back, or "closed". */
const roundTrip = (listen) =>
  new Promise((resolve) => {
    const start = performance.now();
    const socket = connect(listen);
    socket.on("connect", () => socket.write("?"));
    socket.on("data", () => {
      resolve(performance.now() - start);
      socket.destroy();
    });
    socket.on("close", () => resolve("closed"));
    socket.on("error", () => resolve("closed"));
  });

const fails = (promise, part) =>
  assert.rejects(promise, (error) => {
    assert.ok(error.message.includes(part), error.message);
    return true;
  });

const steps = {
  async "a version that is Toxiproxy's"() {
    assert.match(JSON.parse(await toxiproxy.getVersion()).version, /^2\.\d+\.\d+$/);
  },
  async "proxies are created, found, changed and removed"() {
    const proxy = await toxiproxy.createProxy({ name: "node", listen: "127.0.0.1:0", upstream });
    assert.deepEqual(proxy.toJson(), { enabled: true, listen: proxy.listen, name: "node", upstream });
    assert.ok(!proxy.listen.endsWith(":0"));
    await fails(toxiproxy.createProxy({ name: "node", listen: "127.0.0.1:0", upstream }), "409");
    assert.equal((await toxiproxy.get("node")).listen, proxy.listen);
    await fails(toxiproxy.get("nobody"), "404");
    assert.deepEqual(Object.keys(await toxiproxy.getAll()), ["node"]);
    assert.equal(typeof (await roundTrip(proxy.listen)), "number");
    const down = await proxy.update({ enabled: false, listen: proxy.listen, upstream });
    assert.equal(down.enabled, false);
    assert.equal(await roundTrip(proxy.listen), "closed");
    assert.equal((await proxy.update({ enabled: true, listen: proxy.listen, upstream })).enabled, true);
    assert.equal(typeof (await roundTrip(proxy.listen)), "number");
    await proxy.remove();
    await fails(toxiproxy.get("node"), "404");
  },
  async "a list is populated, twice the same is once"() {
    const body = [
      { name: "one", listen: "127.0.0.1:0", upstream },
      { name: "two", listen: "127.0.0.1:0", upstream },
    ];
    const first = await toxiproxy.populate(body);
    assert.deepEqual(Object.keys(first), ["one", "two"]);
    const again = await toxiproxy.populate([{ ...body[0], listen: first.one.listen }]);
    assert.equal(again.one.listen, first.one.listen);
    for (const proxy of Object.values(await toxiproxy.getAll())) await proxy.remove();
    assert.deepEqual(await toxiproxy.getAll(), {});
  },
  async "every type of toxic is added, updated and removed"() {
    const types = {
      latency: { latency: 1000, jitter: 100 },
      bandwidth: { rate: 1000 },
      slow_close: { delay: 1000 },
      timeout: { timeout: 1000 },
      reset_peer: { timeout: 1000 },
      slicer: { average_size: 100, size_variation: 10, delay: 5 },
      limit_data: { bytes: 1000 },
    };
    const proxy = await toxiproxy.createProxy({ name: "toxics", listen: "127.0.0.1:0", upstream });
    for (const [type, attributes] of Object.entries(types)) {
      const body = { name: `a-${type}`, type, stream: "upstream", toxicity: 0.5, attributes };
      const toxic = await proxy.addToxic(body);
      assert.deepEqual(toxic.toJson(), body);
      assert.deepEqual((await proxy.getToxic(toxic.name)).toJson(), body);
      await fails(proxy.addToxic(body), "409");
      const updated = await toxic.update({ attributes: { [Object.keys(attributes)[0]]: 7 }, toxicity: 1 });
      assert.equal(updated.toxicity, 1);
      assert.deepEqual(updated.attributes, { ...attributes, [Object.keys(attributes)[0]]: 7 });
      await toxic.remove();
      await fails(proxy.getToxic(toxic.name), "404");
    }
    await fails(proxy.addToxic({ name: "x", type: "rain", stream: "upstream", toxicity: 1, attributes: {} }), "400");
    await proxy.remove();
  },
  async "latency is felt, and a reset undoes it"() {
    const proxy = await toxiproxy.createProxy({ name: "slow", listen: "127.0.0.1:0", upstream });
    await proxy.addToxic({ name: "slow", type: "latency", stream: "downstream", toxicity: 1, attributes: { latency: 120, jitter: 0 } });
    assert.ok((await roundTrip(proxy.listen)) >= 120);
    await proxy.update({ enabled: false, listen: proxy.listen, upstream });
    await toxiproxy.reset();
    assert.ok((await roundTrip(proxy.listen)) < 120);
    await fails(proxy.getToxic("slow"), "404");
    await proxy.remove();
  },
};

(async () => {
  for (const [name, step] of Object.entries(steps)) {
    try {
      await step();
      console.log(`ok ${name}`);
    } catch (error) {
      console.log(`FAILED ${name}: ${error.stack}`);
      process.exitCode = 1;
    }
  }
})();

import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { addressProblem, guardedAgent, isAllowedAddress, type Resolver } from "./address.ts";
import { post } from "./send.ts";

const strict = { allowLoopback: false };
const lenient = { allowLoopback: true };

describe("an address that deliveries may go to", () => {
  test.each(["1.1.1.1", "8.8.8.8", "172.15.255.255", "172.32.0.1", "2606:4700:4700::1111", "2a00:1450:4001:800::200e", "::ffff:1.1.1.1"])(
    "%s is public",
    (address) => expect([isAllowedAddress(address, strict), isAllowedAddress(address, lenient)]).toEqual([true, true]),
  );

  test.each([
    // This network, private, shared, link-local (with clouds' metadata services), special, documentation, benchmarks, multicast, reserved.
    ..."0.0.0.0 0.1.2.3 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 100.127.255.255 169.254.169.254 192.0.0.1 192.0.2.1".split(
      " ",
    ),
    ..."198.18.0.1 198.51.100.1 203.0.113.1 192.88.99.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 168.63.129.16".split(" "),
    // The same for IPv6, and IPv6 addresses that embed IPv4: mapped, compatible, translated, NAT64, 6to4, Teredo.
    ..."::  fe80::1 fec0::1 fc00::1 fd12:3456::1 ff02::1 2001:db8::1 3fff::1 100::1 5f00::1 fd00:ec2::254".split(/ +/),
    ..."::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:a00:1 ::10.0.0.1 ::ffff:0:10.0.0.1 64:ff9b::a00:1 64:ff9b:1::1 2002:a00:1:: 2001:0:a00:1::".split(
      " ",
    ),
    "not an address",
    "",
  ])("%s is not public", (address) =>
    expect([isAllowedAddress(address, strict), isAllowedAddress(address, lenient)]).toEqual([false, false]),
  );

  test.each(["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1"])(
    "%s is allowed with `allowLoopback` alone",
    (address) => expect([isAllowedAddress(address, strict), isAllowedAddress(address, lenient)]).toEqual([false, true]),
  );
});

describe("an agent for deliveries", () => {
  let calls = 0;
  let port = 0;
  const server = createServer((_incoming, outgoing) => {
    calls++;
    outgoing.end("secret");
  });
  beforeAll(async () => {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    port = (server.address() as AddressInfo).port;
  });
  afterAll(() => void server.close());

  async function send(url: string, rules: typeof strict, resolve?: Resolver) {
    const agent = guardedAgent(rules, { connectTimeoutMs: 2_000, ...(resolve === undefined ? {} : { resolve }) });
    const before = calls;
    const attempt = await post(agent, url, { headers: {}, body: "{}", timeoutMs: 2_000 });
    await agent.destroy();
    return { ...attempt, reached: calls > before };
  }
  const answers =
    (...rounds: string[][]): Resolver =>
    (_name, done) =>
      done(
        null,
        (rounds.length > 1 ? (rounds.shift() as string[]) : (rounds[0] as string[])).map((address) => ({
          address,
          family: address.includes(":") ? 6 : 4,
        })),
      );

  test("reaches loopback addresses with `allowLoopback`", async () => {
    expect(await send(`http://127.0.0.1:${port}/`, lenient)).toMatchObject({ delivered: true, reached: true, responseBody: "secret" });
    expect(await send(`http://hooks.example:${port}/`, lenient, answers(["127.0.0.1"]))).toMatchObject({ delivered: true, reached: true });
  });

  test.each([
    ["as it is", "127.0.0.1"],
    ["decimal", "2130706433"],
    ["hexadecimal", "0x7f000001"],
    ["octal", "0177.0.0.1"],
    ["short", "127.1"],
    ["in other digits", "①②⑦.0.0.1"],
    ["IPv6", "[::1]"],
    ["IPv4 in IPv6", "[::ffff:127.0.0.1]"],
    ["IPv4 in IPv6, in hex", "[::ffff:7f00:1]"],
    ["the unspecified address", "0.0.0.0"],
    ["NAT64", "[64:ff9b::7f00:1]"],
  ])("does not connect to an address that is not public: %s", async (_how, host) => {
    const attempt = await send(`http://${host}:${port}/`, strict);
    expect(attempt).toMatchObject({
      delivered: false,
      reached: false,
      responseStatus: null,
      error: expect.stringContaining("not a public address"),
    });
    expect(await addressProblem(new URL(`http://${host}:${port}/`), strict)).toContain("not a public address");
  });

  test("does not connect to a name when any of its addresses is not public", async () => {
    for (const addresses of [["127.0.0.1"], ["1.1.1.1", "127.0.0.1"], ["::ffff:127.0.0.1"], ["10.0.0.1"]]) {
      const attempt = await send(`http://hooks.example:${port}/`, strict, answers(addresses));
      expect(attempt).toMatchObject({ delivered: false, reached: false, error: expect.stringContaining("hooks.example resolves to") });
      expect(await addressProblem(new URL("http://hooks.example/"), strict, answers(addresses))).toContain("not a public address");
    }
    expect(await send(`http://localhost:${port}/`, strict)).toMatchObject({ reached: false, delivered: false });
  });

  test("checks the addresses that it connects to, so a name that resolves to another address later is refused", async () => {
    const resolve = answers(["1.1.1.1"], ["127.0.0.1"]);
    expect(await addressProblem(new URL("http://hooks.example/"), strict, resolve)).toBe(null);
    expect(await send(`http://hooks.example:${port}/`, strict, resolve)).toMatchObject({
      reached: false,
      error: expect.stringContaining("127.0.0.1"),
    });
  });

  test("resolves a name once per connection", async () => {
    let asked = 0;
    await send(`http://hooks.example:${port}/`, lenient, (_name, done) => {
      asked++;
      done(null, [{ address: "127.0.0.1", family: 4 }]);
    });
    expect(asked).toBe(1);
  });

  test("a name that can't be resolved may be registered, and attempts to reach it fail", async () => {
    const unknown: Resolver = (_name, done) => done(Object.assign(new Error("ENOTFOUND"), { code: "ENOTFOUND" }), []);
    expect(await addressProblem(new URL("http://soon.example/"), strict, unknown)).toBe(null);
    expect(await send("http://soon.example/", strict, unknown)).toMatchObject({ delivered: false, error: "the name can't be resolved" });
  });

  test("does not follow redirects", async () => {
    const redirecting = createServer(
      (_incoming, outgoing) => void outgoing.writeHead(307, { location: `http://127.0.0.1:${port}/` }).end(),
    );
    await new Promise<void>((resolve) => redirecting.listen(0, "127.0.0.1", resolve));
    const attempt = await send(`http://127.0.0.1:${(redirecting.address() as AddressInfo).port}/`, lenient);
    expect(attempt).toMatchObject({ delivered: false, reached: false, responseStatus: 307 });
    redirecting.close();
  });
});

import { execFileSync } from "node:child_process";
import { request } from "node:http";
import { balanceOf } from "../../src/server/ledger/accounts.ts";
import { verify } from "../../src/server/ledger/verify.ts";
import { gate, silence } from "../../src/testing/fake-upstream.ts";
import { forget, type ServerProcess, startServer } from "../../src/testing/server-process.ts";
import { chunk, completion, completionChunks, delta, event, events, sse, usage } from "../../src/testing/upstream-answers.ts";
import { call, chat, eventsOf, marker, send } from "../client.ts";
import { expect, test } from "../fixtures.ts";
import { arrange, letHoldsExpire, price, settled } from "../world.ts";

const path = "/v1/chat/completions";
const CLIENTS = 32;

/** Clients that send requests until the server dies, half of them for streams. Returns what each complete answer was billed. */
async function load(
  server: ServerProcess,
  as: { key: string; user?: string },
  text: string,
): Promise<{ requestId: string; credits: number }[]> {
  const paid: { requestId: string; credits: number }[] = [];
  await Promise.all(
    Array.from({ length: CLIENTS }, async (_each, index) => {
      const stream = index % 2 === 0;
      for (;;) {
        try {
          const response = await send(server, path, { ...as, body: chat(text, { stream, max_tokens: 100 }) });
          const body = await response.text();
          if (response.status !== 200) throw new Error(`unexpected ${response.status}: ${body}`);
          if (stream && !body.includes("[DONE]")) continue;
          const quota = stream ? eventsOf(body).findLast((each) => each.quota)?.quota : JSON.parse(body).quota;
          paid.push({ requestId: response.headers.get("x-request-id") as string, credits: quota.credits_used });
        } catch (error) {
          if (error instanceof TypeError) return;
          throw error;
        }
      }
    }),
  );
  return paid;
}

/** Some answers take several turns of the event loop, so that a crash meets requests at every stage. */
function uneven(body: Record<string, unknown>) {
  if (body.stream !== true) return completion({ usage: usage(20, 10) });
  return events(
    (async function* () {
      for (const each of completionChunks(["a", "b", "c"], { usage: usage(20, 10) })) {
        yield event(each);
        await new Promise((resolve) => setImmediate(resolve));
      }
      yield event("[DONE]");
    })(),
  );
}

test.describe("kill -9 under load", () => {
  test("on the embedded database: the next start returns held credits, and every answer that arrived is billed", async ({
    start,
    upstream,
  }) => {
    const first = await start({ upstream });
    const as = { key: first.demo.api_keys.developer, user: first.demo.user.external_user_id };
    const text = marker();
    using seen = upstream.on(text, ({ body }) => uneven(body));
    // A request that is certainly under way when the server dies.
    const stuck = marker();
    using hanging = upstream.on(stuck, silence);
    void send(first, path, { ...as, body: chat(stuck) }).catch(() => {});
    await hanging.next();
    const clients = load(first, as, text);
    await expect.poll(() => seen.requests.length, { intervals: [50], timeout: 60_000 }).toBeGreaterThan(150);
    await first.kill9();
    const paid = await clients;
    expect(paid.length).toBeGreaterThan(50);

    const second = await start({ upstream, dataDir: first.dataDir });
    expect(second.output().stdout).toMatch(/Returned the credits of \d+ requests/);
    const usages: { request_id: string; credits_used: number }[] = [];
    for (let after = ""; ; ) {
      const page = await call(second, `/v1/usage?limit=100${after}`, { key: as.key });
      usages.push(...page.json.data);
      if (!page.json.has_more) break;
      after = `&starting_after=${usages.at(-1)?.request_id}`;
    }
    const billed = new Map(usages.map((each) => [each.request_id, each.credits_used]));
    expect(paid.filter(({ requestId, credits }) => billed.get(requestId) !== credits)).toEqual([]);
    const { balance, held } = (await call(second, "/v1/balance", as)).json;
    expect([balance, held]).toEqual([10_000_000 - usages.reduce((sum, each) => sum + each.credits_used, 0), 0]);
    expect((await call(second, path, { ...as, body: chat(text) })).status).toBe(200);
  });

  test("on Postgres: the sweeper returns held credits, and every answer that arrived is billed", async ({
    start,
    upstream,
    ownDatabase,
  }) => {
    const { db, url } = ownDatabase;
    const world = await arrange(db, { balance: 100_000_000n, monthlyLimit: 50_000_000n, markupBps: 1_000 });
    const first = await start({ upstream, databaseUrl: url });
    const text = marker();
    using seen = upstream.on(text, ({ body }) => uneven(body));
    const stuck = marker();
    using hanging = upstream.on(stuck, silence);
    void send(first, path, { ...world.as, body: chat(stuck) }).catch(() => {});
    await hanging.next();
    const clients = load(first, world.as, text);
    await expect.poll(() => seen.requests.length, { intervals: [50], timeout: 60_000 }).toBeGreaterThan(1_000);
    await first.kill9();
    const paid = await clients;
    expect(paid.length).toBeGreaterThan(300);
    expect((await verify(db.sql)).openHolds).toBeGreaterThan(0);

    await letHoldsExpire(db);
    await start({ upstream, databaseUrl: url });
    // The first sweep after a time without sweeps waits for a minute.
    test.setTimeout(240_000);
    await expect.poll(async () => (await verify(db.sql)).openHolds, { timeout: 120_000 }).toBe(0);
    const report = await verify(db.sql);
    expect(report.discrepancies).toEqual([]);
    const bought = new Map((await world.usage()).map((each) => [`req_${each.id.replaceAll("-", "")}`, Number(each.base + each.markup)]));
    expect(paid.filter(({ requestId, credits }) => bought.get(requestId) !== credits)).toEqual([]);
    expect(await world.balance()).toBe(100_000_000n - BigInt([...bought.values()].reduce((sum, credits) => sum + credits, 0)));
    expect((await world.usage()).filter(({ outcome }) => outcome === "swept").length).toBeGreaterThan(0);
    expect((await balanceOf(db.sql, world.link.limitId as string)).held).toBe(0n);
  });

  test("the sweeper leaves the holds of long requests of a living server", async ({ postgresServer, upstream }) => {
    const { db } = postgresServer;
    const world = await arrange(db);
    const text = marker();
    const release = gate();
    using seen = upstream.on(text, async () => {
      await release.opened;
      return completion();
    });
    const answer = call(postgresServer, path, { ...world.as, body: chat(text) });
    await seen.next();
    const { sweepHolds } = await import("../../src/server/ledger/sweep.ts");
    await sweepHolds(db.sql);
    release.open();
    expect((await answer).json.quota.credits_used).toBe(5);
    expect(await world.balance()).toBe(999_995n);
  });
});

/** A stream of "before" and, after `time` has resolved, the rest; 5 credits in total. */
function halfStream(time: Promise<void>) {
  return events(
    (async function* () {
      yield event(chunk([delta({ content: "before" })]));
      await time;
      yield [chunk([delta({ content: " after" })]), chunk([delta({}, { finishReason: "stop" })]), chunk([], { usage: usage(10, 5) })]
        .map(event)
        .join("");
      yield event("[DONE]");
    })(),
  );
}

/** A stopping server accepts no new connection. */
async function expectNoConnectionAccepted(server: ServerProcess): Promise<void> {
  await expect
    .poll(() =>
      send(server, "/healthz").then(
        () => "answered",
        () => "refused",
      ),
    )
    .toBe("refused");
}

/** Opens a connection of its own, and resolves when that has ended in any way. */
function openConnection(server: ServerProcess, onConnect = () => {}): Promise<void> {
  const { hostname, port } = new URL(server.url);
  return new Promise((resolve) => {
    const asking = request({ hostname, port, path: "/healthz", agent: false }, (answer) => answer.resume());
    asking.once("socket", (socket) => socket.once("connect", onConnect));
    asking.once("error", () => {});
    asking.once("close", resolve);
    asking.end();
  });
}

/** Opens connections one after the other until the first is refused. */
function openUntilRefused(server: ServerProcess): { readonly waiting: number } {
  const connections = { waiting: 0 };
  const next = async () => {
    connections.waiting++;
    await openConnection(server, () => setImmediate(next));
    connections.waiting--;
  };
  void next();
  return connections;
}

/** The process ids of a server's child processes. */
function workersOf(server: ServerProcess): string[] {
  return execFileSync("pgrep", ["-P", String(server.pid)], { encoding: "utf8" })
    .split("\n")
    .filter(Boolean);
}

test.describe("SIGTERM", () => {
  test("right after the first answer: the process exits with 0", async ({ start, ownDatabase }) => {
    const server = await start({ databaseUrl: ownDatabase.url });
    server.terminate();
    expect(await server.exited).toBe(0);
  });

  test("while a stream runs: it completes and is billed, then the process exits with 0", async ({ start, upstream, ownDatabase }) => {
    const { db, url } = ownDatabase;
    const world = await arrange(db);
    const server = await start({ upstream, databaseUrl: url });
    const text = marker();
    const release = gate();
    using seen = upstream.on(text, halfStream(release.opened));
    const response = await send(server, path, { ...world.as, body: chat(text, { stream: true }) });
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    let read = Buffer.from((await reader.read()).value ?? []).toString("utf8");
    expect(read).toContain("before");
    await seen.next();

    server.terminate();
    await expect.poll(() => server.output().stdout).toContain("Stopping");
    await expectNoConnectionAccepted(server);
    release.open();
    for (let part = await reader.read(); part.done !== true; part = await reader.read()) read += Buffer.from(part.value).toString("utf8");
    expect(eventsOf(read).at(-1)).toBe("[DONE]");
    expect(eventsOf(read).at(-2)).toMatchObject({ choices: [{ finish_reason: "stop" }], quota: { credits_used: 5 } });
    expect(await server.exited).toBe(0);
    expect(await world.balance()).toBe(999_995n);
  });

  for (const stream of [false, true]) {
    test(`while a client reads ${stream ? "a stream" : "an answer"} slowly: the client gets all of it`, async ({
      start,
      upstream,
      ownDatabase,
    }) => {
      const { db, url } = ownDatabase;
      const world = await arrange(db);
      const server = await start({ upstream, databaseUrl: url });
      const text = marker();
      // More than the kernel's socket buffers hold, and billed before it is sent.
      const long = "x".repeat(14 * 1024 * 1024);
      using _ = upstream.on(
        text,
        stream
          ? sse([chunk([delta({ content: long }, { finishReason: "stop" })]), chunk([], { usage: usage(10, 5) })])
          : completion({ text: long }),
      );
      const read = await readSlowly(server, { ...world.as, body: chat(text, { stream }) }, async () => {
        await settled(db, world);
        await expect.poll(() => world.usage()).toHaveLength(1);
        server.terminate();
        await expect.poll(() => server.output().stdout).toContain("Stopping");
        // A server that did not wait would have ended by the time it refuses connections.
        await expectNoConnectionAccepted(server);
        await Promise.race([server.exited, new Promise((resolve) => setTimeout(resolve, 500))]);
      });
      expect(read.length).toBeGreaterThan(long.length);
      expect(read.slice(-300)).toContain('"credits_used":5');
      expect(await server.exited).toBe(0);
    });
  }
});

/** Sends a request and reads nothing of the answer until `work` is done. */
function readSlowly(server: ServerProcess, asked: { key: string; user: string; body: object }, work: () => Promise<void>): Promise<string> {
  const { hostname, port } = new URL(server.url);
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${asked.key}`, "x-quota-user": asked.user };
    const outgoing = request({ hostname, port, path, method: "POST", headers }, (incoming) => {
      incoming.pause();
      const parts: Buffer[] = [];
      incoming.on("data", (part: Buffer) => parts.push(part));
      incoming.once("error", reject);
      incoming.once("end", () => resolve(Buffer.concat(parts).toString("utf8")));
      work().then(() => incoming.resume(), reject);
    });
    outgoing.once("error", reject);
    outgoing.end(JSON.stringify(asked.body));
  });
}

test.describe("two servers on one Postgres", () => {
  test("may start at the same moment, with demo data", async ({ start, ownDatabase }) => {
    const servers = await Promise.all(Array.from({ length: 3 }, () => start({ databaseUrl: ownDatabase.url })));
    for (const server of servers) expect((await call(server, "/v1/me", { key: server.demo.api_keys.developer })).status).toBe(200);
  });

  test("share a wallet and a limit: together they never spend more than it has", async ({ start, upstream, ownDatabase }) => {
    const { db, url } = ownDatabase;
    const text = marker();
    const body = JSON.stringify(chat(text, { max_tokens: 100 }));
    const prompt = Buffer.byteLength(body) + 16;
    const each = price(prompt, 100);
    const byWallet = await arrange(db, { balance: each * 10n });
    const byLimit = await arrange(db, { balance: each * 100n, monthlyLimit: each * 10n });
    const servers = [await start({ upstream, databaseUrl: url }), await start({ upstream, databaseUrl: url })];
    using _ = upstream.on(text, completion({ usage: usage(prompt, 100) }));
    for (const [world, code] of [
      [byWallet, "insufficient_credits"],
      [byLimit, "spending_limit_reached"],
    ] as const) {
      const answers = await Promise.all(
        Array.from({ length: 120 }, (_each, index) => call(servers[index % 2] as ServerProcess, path, { ...world.as, body })),
      );
      expect(answers.filter(({ status }) => status === 200)).toHaveLength(10);
      expect(new Set(answers.filter(({ status }) => status !== 200).map(({ status, json }) => `${status} ${json.error.code}`))).toEqual(
        new Set([`402 ${code}`]),
      );
      await settled(db, world);
    }
    expect([await byWallet.balance(), await byLimit.balance()]).toEqual([0n, each * 90n]);
    expect((await verify(db.sql)).discrepancies).toEqual([]);
  });

  test("respect each other's revoked keys, unlinked users and idempotency keys at the next request", async ({
    start,
    upstream,
    ownDatabase,
  }) => {
    const { db, url } = ownDatabase;
    const world = await arrange(db);
    const one = await start({ upstream, databaseUrl: url });
    const two = await start({ upstream, databaseUrl: url });
    const text = marker();
    using seen = upstream.on(text, completion());
    const once = { ...world.as, headers: { "idempotency-key": "shared" }, body: chat(text) };
    const first = await call(one, path, once);
    const again = await call(two, path, once);
    expect([again.text, again.headers.get("idempotency-replayed"), seen.requests.length]).toEqual([first.text, "true", 1]);
    const together = await Promise.all(
      [one, two, one, two].map((server) => call(server, path, { ...once, headers: { "idempotency-key": "together" } })),
    );
    expect(seen.requests).toHaveLength(2);
    expect(together.filter(({ status }) => ![200, 409].includes(status))).toEqual([]);

    expect((await call(two, path, { ...world.as, body: chat("hi") })).status).toBe(200);
    await call(one, `/v1/users/${world.as.user}/link`, { key: world.as.key, method: "DELETE" });
    expect((await call(two, path, { ...world.as, body: chat("hi") })).status).toBe(404);
    expect((await call(two, "/v1/me", { key: world.as.key })).status).toBe(200);
    const { revoke } = await import("../../src/server/apps/api-keys.ts");
    await revoke(db.prisma, world.app.id, world.key.id);
    for (const server of [one, two]) expect((await call(server, "/v1/me", { key: world.as.key })).status).toBe(401);
  });
});

test("a server that npm started shuts down in order when npm gets SIGTERM", async () => {
  const server = await startServer({ npm: true });
  await server.stop();
  expect(server.output().stdout).toContain("Stopping");
  await forget(server);
});

test.describe("QUOTA_PROCESSES", () => {
  test.skip(process.platform === "darwin", "macOS does not let processes share a port");

  test("serve on one port as one server does; a dead one is replaced, and all of them stop with code 0", async ({
    start,
    upstream,
    ownDatabase,
  }) => {
    const { db, url } = ownDatabase;
    const server = await start({ upstream, databaseUrl: url, env: { QUOTA_PROCESSES: "2" } });
    const text = marker();
    const body = JSON.stringify(chat(text, { max_tokens: 100 }));
    const prompt = Buffer.byteLength(body) + 16;
    using _ = upstream.on(text, completion({ usage: usage(prompt, 100) }));
    const world = await arrange(db, { balance: price(prompt, 100) * 10n });
    const answers = await Promise.all(Array.from({ length: 60 }, () => call(server, path, { ...world.as, body })));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(10);
    await settled(db, world);

    const processes = () => workersOf(server);
    await expect.poll(() => processes().length).toBe(2);
    const [one, other] = processes();
    process.kill(Number(one), "SIGKILL");
    // Connections right after the crash are served or closed, also those that the dead process had accepted.
    await Promise.all(Array.from({ length: 50 }, () => openConnection(server)));
    await expect.poll(() => processes().filter((pid) => pid !== one && pid !== other).length, { timeout: 60_000 }).toBe(1);
    expect((await call(server, "/v1/me", { key: world.as.key })).status).toBe(200);
  });

  test("stop once when all get the signal at once, as from a terminal: a stream under way completes", async ({
    start,
    upstream,
    ownDatabase,
  }) => {
    const { db, url } = ownDatabase;
    const world = await arrange(db);
    const server = await start({ upstream, databaseUrl: url, env: { QUOTA_PROCESSES: "2" } });
    const text = marker();
    const release = gate();
    using seen = upstream.on(text, halfStream(release.opened));
    const response = await send(server, path, { ...world.as, body: chat(text, { stream: true }) });
    await seen.next();
    await expect.poll(() => workersOf(server).length).toBe(2);
    const connections = openUntilRefused(server);
    for (const pid of [server.pid, ...workersOf(server).map(Number)]) process.kill(pid, "SIGTERM");
    await expectNoConnectionAccepted(server);
    // While the stream runs, every connection is served or closed.
    await expect.poll(() => connections.waiting).toBe(0);
    release.open();
    expect(eventsOf(await response.text()).at(-1)).toBe("[DONE]");
    expect(await server.exited).toBe(0);
    expect(await world.balance()).toBe(999_995n);
  });

  test("all end when the port is in use", async ({ start, postgresServer, ownDatabase }) => {
    const { port } = new URL(postgresServer.url);
    await expect(start({ databaseUrl: ownDatabase.url, env: { QUOTA_PROCESSES: "2", PORT: port } })).rejects.toThrow(
      new RegExp(`^The server ended with 1:[^]*port ${port} is in use`),
    );
  });

  test("is refused on the embedded database, which belongs to one process", async ({ start }) => {
    await expect(start({ env: { QUOTA_PROCESSES: "2" } })).rejects.toThrow("the embedded database serves one process");
  });
});

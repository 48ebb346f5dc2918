import { readdir } from "node:fs/promises";
import path from "node:path";
import { KeptSettlements } from "../../src/server/ledger/kept.ts";
import { openDatabase } from "../../src/server/platform/db.ts";
import { gate, silence } from "../../src/testing/fake-upstream.ts";
import { settlement } from "../../src/testing/ledger-requests.ts";
import { openRelay } from "../../src/testing/relay.ts";
import { completion, completionChunks, event, events, sse, usage } from "../../src/testing/upstream-answers.ts";
import { call, chat, eventsOf, marker, send } from "../client.ts";
import { expect, test } from "../fixtures.ts";
import { arrange } from "../world.ts";

const completions = "/v1/chat/completions";
const unbilled = (dataDir: string) => readdir(path.join(dataDir, "unbilled")).catch(() => []);

for (const [end, name] of [
  ["kill9", "killed"],
  ["stop", "told to stop"],
] as const) {
  test(`Postgres is silent when requests end, and the server is ${name} after it named their prices: the next start bills exactly those prices`, async ({
    start,
    upstream,
    ownDatabase,
    atTheEnd,
  }) => {
    const { db, url } = ownDatabase;
    const relay = await openRelay(url);
    atTheEnd.push(relay.close);
    const world = await arrange(db, { markupBps: 1_000 });
    const first = await start({ upstream, databaseUrl: relay.url });
    const text = marker();
    const release = gate();
    using seen = upstream.on(text, async ({ body }) => {
      await release.opened;
      if (body.stream !== true) return completion({ usage: usage(20, 10) });
      return events(
        (async function* () {
          for (const each of completionChunks(["a", "b"], { usage: usage(20, 10) })) yield event(each);
          yield event("[DONE]");
        })(),
      );
    });
    const asked = Promise.all(
      Array.from({ length: 6 }, async (_each, index) => {
        const stream = index % 2 === 0;
        const response = await send(first, completions, { ...world.as, body: chat(text, { stream, max_tokens: 100 }) });
        const body = await response.text();
        if (stream) expect(eventsOf(body).at(-1)).toBe("[DONE]");
        const { quota } = stream ? eventsOf(body).findLast((each) => each.quota) : JSON.parse(body);
        return { id: response.headers.get("x-request-id") as string, quota };
      }),
    );
    await expect.poll(() => seen.requests.length).toBe(6);
    relay.silence();
    release.open();
    const answers = await asked;
    expect(answers.map(({ quota }) => quota)).toEqual(Array(6).fill(expect.objectContaining({ credits_used: 10, balance_after: null })));
    expect(await world.usage()).toEqual([]);
    expect((await unbilled(first.dataDir)).length).toBeGreaterThan(0);
    if (end === "kill9") await first.kill9();
    else expect(await first.stop()).toBe(0);
    // Data under way to Postgres is lost.
    relay.cut();

    const second = await start({ upstream, databaseUrl: url, dataDir: first.dataDir });
    expect(second.output().stdout).toContain("Entered 6 bills");
    const billed = new Map((await world.usage()).map((each) => [`req_${each.id.replaceAll("-", "")}`, Number(each.base + each.markup)]));
    expect(answers.filter(({ id, quota }) => billed.get(id) !== quota.credits_used)).toEqual([]);
    expect(billed.size).toBe(6);
    expect(await world.balance()).toBe(1_000_000n - 60n);
    expect(await unbilled(first.dataDir)).toEqual([]);
  });
}

test("when Postgres is silent and the provider counted more than was on hold, the price in the answer is the one that is billed", async ({
  start,
  upstream,
  ownDatabase,
  atTheEnd,
}) => {
  const { db, url } = ownDatabase;
  const relay = await openRelay(url);
  atTheEnd.push(relay.close);
  // The wallet has less than the requested output costs, so the hold is the whole wallet.
  const worlds = [await arrange(db, { balance: 60n }), await arrange(db, { balance: 60n })];
  const server = await start({ upstream, databaseUrl: relay.url });
  const text = marker();
  const release = gate();
  using seen = upstream.on(text, async ({ body }) => {
    await release.opened;
    const counted = usage(20, 1_000);
    return body.stream === true ? sse(completionChunks(["a"], { usage: counted })) : completion({ usage: counted });
  });
  const asked = Promise.all(
    worlds.map(async ({ as }, index) => {
      const response = await send(server, completions, { ...as, body: chat(text, { stream: index === 0, max_tokens: 1_000 }) });
      const body = await response.text();
      return index === 0 ? eventsOf(body).findLast((each) => each.quota).quota : JSON.parse(body).quota;
    }),
  );
  await expect.poll(() => seen.requests.length).toBe(2);
  relay.silence();
  release.open();
  expect(await asked).toEqual(Array(2).fill(expect.objectContaining({ credits_used: 60, balance_after: null })));
  relay.speak();
  await expect.poll(() => unbilled(server.dataDir)).toEqual([]);
  for (const world of worlds) {
    expect((await world.usage()).map(({ base, markup }) => base + markup)).toEqual([60n]);
    expect(await world.balance()).toBe(0n);
  }
});

test("when Postgres answers again the server enters the settlements on disk, once, and removes the file", async ({
  start,
  upstream,
  ownDatabase,
  atTheEnd,
}) => {
  const { db, url } = ownDatabase;
  const relay = await openRelay(url);
  atTheEnd.push(relay.close);
  const world = await arrange(db);
  const server = await start({ upstream, databaseUrl: relay.url });
  const text = marker();
  const release = gate();
  using seen = upstream.on(text, async () => {
    await release.opened;
    return completion();
  });
  const asked = call(server, completions, { ...world.as, body: chat(text) });
  await seen.next();
  relay.silence();
  release.open();
  expect((await asked).json.quota).toMatchObject({ credits_used: 5, balance_after: null });
  relay.speak();
  await expect.poll(() => unbilled(server.dataDir)).toEqual([]);
  expect((await world.usage()).map(({ outcome }) => outcome)).toEqual(["completed"]);
  expect(await world.balance()).toBe(999_995n);
});

test("on the embedded database a start enters the settlements on disk before it returns other holds", async ({ start, upstream }) => {
  const first = await start({ upstream });
  const as = { key: first.demo.api_keys.developer, user: first.demo.user.external_user_id };
  const text = marker();
  using hanging = upstream.on(text, silence);
  for (let count = 0; count < 2; count++) void send(first, completions, { ...as, body: chat(text, { max_tokens: 100 }) }).catch(() => {});
  await expect.poll(() => hanging.requests.length).toBe(2);
  await first.kill9();
  const db = await openDatabase({ dataDir: path.join(first.dataDir, "db") });
  const [answered, lost] = await db.prisma.hold.findMany({ orderBy: { id: "asc" } });
  await db.close();
  // As if the answer had been sent while the database failed.
  await new KeptSettlements(path.join(first.dataDir, "unbilled")).keep(settlement(answered?.id as string, 7n));

  const second = await start({ upstream, dataDir: first.dataDir });
  expect(second.output().stdout).toContain("Entered 1 bills");
  expect(second.output().stdout).toContain("Returned the credits of 1 requests");
  const { data } = (await call(second, "/v1/usage?limit=10", { key: as.key })).json;
  expect(data.find((each: { request_id: string }) => each.request_id === `req_${answered?.id.replaceAll("-", "")}`)).toMatchObject({
    credits_used: 7,
  });
  expect(lost).toBeDefined();
  expect((await call(second, "/v1/balance", as)).json).toMatchObject({ balance: 9_999_993, held: 0 });
});

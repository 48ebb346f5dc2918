import { expect, test } from "vitest";
import { onBothDatabases } from "#testing/database.ts";
import { holdOne, holdRequest, settlement } from "#testing/ledger-requests.ts";
import { makeApp, makeKey, makeLink, makeUser } from "#testing/makers.ts";
import { chunk, delta, event } from "#testing/upstream-answers.ts";
import { balanceOf } from "../ledger/accounts.ts";
import { type Ledger, openLedger } from "../ledger/ledger.ts";
import { verify } from "../ledger/verify.ts";
import type { Database } from "../platform/db.ts";
import { baseCost, markupOn } from "../pricing/price.ts";
import { chatCompletions } from "./dialects/chat-completions.ts";
import { GrowingHold } from "./growth.ts";
import { worthOf } from "./share.ts";
import { creditsCameBack } from "./waiting.ts";

const DAY = "2026-11-29";
const MARKUP_BPS = 1_000;

/** A stream of gpt-4o-mini on a wallet with so many credits, and its hold as a request would make it. */
async function open(db: Database, credits: bigint, body: object = {}) {
  const app = await makeApp(db, { markupBps: MARKUP_BPS });
  const key = await makeKey(db, app.id, "user");
  const person = await makeUser(db, { credits });
  const link = await makeLink(db, app.id, person, { monthlyLimit: credits });
  const text = JSON.stringify({ model: "gpt-4o-mini", stream: true, messages: [{ role: "user", content: "hi" }], ...body });
  const request = chatCompletions.read(text, () => null);
  const worth = worthOf(request, request.promptBound, DAY);
  const hold = (rest: Partial<Parameters<typeof holdRequest>[1]>) =>
    holdOne(db.sql, holdRequest(key, { externalUserId: link.externalUserId, ...rest }));
  const held = await hold({ desiredBase: worth.desired, minimumBase: worth.minimum, modestBase: worth.modest });
  const books = openLedger(db);
  const asked: bigint[] = [];
  const lose = { next: false };
  const counted: Pick<Ledger, "grow"> & Partial<Ledger> = {
    grow: async (growth, linkedUserId) => {
      asked.push(growth.desired);
      const verdict = await books.grow(growth, linkedUserId);
      if (!lose.next) return verdict;
      lose.next = false;
      throw new Error("Connection terminated unexpectedly");
    },
  };
  const client = new AbortController();
  const growing = new GrowingHold(counted as Ledger, { ...held, day: DAY, promptBound: request.promptBound }, request, client.signal);
  const meter = chatCompletions.watch(request, app.id);
  growing.begin(meter);
  return {
    meter,
    growing,
    asked,
    /** Whether the next growth is committed unheard. */
    lose,
    person,
    link,
    hold,
    client,
    held: async () => (await balanceOf(db.sql, person.walletId)).held,
    /** Has the provider say so many tokens, each an event; how many reached the client, and whether the stream goes on. */
    say: async (tokens: number) => {
      let through = "";
      const bytes = Buffer.from(event(chunk([delta({ content: " hello" })])).repeat(tokens));
      through += meter.push(bytes)?.toString() ?? "";
      growing.lookAhead(meter);
      while (meter.isFull) {
        const more = await growing.extend(meter);
        if (more === null) break;
        through += more.toString();
      }
      return { tokens: through.split(" hello").length - 1, goesOn: !meter.isFull };
    },
    /** The most that a stream of so many tokens can be billed. */
    price: (completionTokens: number) => {
      const used = { promptTokens: request.promptBound, cachedTokens: 0, cacheWriteTokens: 0, completionTokens };
      const base = baseCost(request.model, used, DAY);
      return base + markupOn(base, MARKUP_BPS);
    },
    end: async () => {
      await books.settle(settlement(held.id, 1n), 1_000);
      expect((await verify(db.sql)).discrepancies).toEqual([]);
    },
  };
}

onBothDatabases("the hold of a stream that grows", (db) => {
  test("pays for everything that goes through, at every moment, and doubles while it can", async () => {
    const it = await open(db(), 9_000n);
    let delivered = 0;
    for (let round = 0; round < 100; round++) {
      const said = await it.say(17);
      expect(said).toEqual({ tokens: 17, goesOn: true });
      delivered += said.tokens;
      expect(await it.held()).toBeGreaterThanOrEqual(it.price(delivered));
    }
    // From 1,024 tokens to more than the 10,200 bytes of this text.
    expect(it.asked.length).toBeLessThanOrEqual(5);
    await it.end();
  });

  test("stretches what is there by counting it, once no more can be had, and stops before it is used up", async () => {
    const it = await open(db(), 3_000n);
    const said = await it.say(10_000);
    expect(said.goesOn).toBe(false);
    const bill = it.price(said.tokens);
    expect(bill).toBeLessThanOrEqual(await it.held());
    // All but a twentieth, for tokens that are counted differently, and what is too little to go on for.
    expect(bill).toBeGreaterThan(2_650n);
    expect(it.asked.length).toBeLessThan(10);
    expect(await it.say(0)).toEqual({ tokens: 0, goesOn: false });
    await it.end();
  });

  test("asks for nothing beyond the longest answer, and watches no more once that is paid for", async () => {
    const it = await open(db(), 3_000n, { max_tokens: 1_500 });
    expect(await it.say(4_000)).toEqual({ tokens: 4_000, goesOn: true });
    expect(it.asked).toHaveLength(1);
    expect(await it.held()).toBe(it.price(1_500));
    await it.end();
  });

  test("asks for as much at once as one large event takes", async () => {
    const it = await open(db(), 9_000n);
    const large = event(chunk([delta({ content: "x".repeat(6_000) })]));
    let through = it.meter.push(Buffer.from(large))?.toString() ?? "";
    while (it.meter.isFull) through += (await it.growing.extend(it.meter))?.toString() ?? "no more";
    expect(through).toBe(large);
    expect(await it.held()).toBeGreaterThanOrEqual(it.price(6_000));
    await it.end();
  });

  test("keeps room for a stop sequence, which is billed and not delivered", async () => {
    const plain = await open(db(), 3_000n);
    const stopped = await open(db(), 3_000n, { stop: ["x".repeat(400)] });
    const [most, less] = [await plain.say(10_000), await stopped.say(10_000)];
    expect(most.tokens - less.tokens).toBeGreaterThan(300);
    await plain.end();
    await stopped.end();
  });

  test("waits for what others hold, and goes before those who have not begun", async () => {
    const it = await open(db(), 3_000n);
    const other = await it.hold({ amount: 2_000n });
    const saying = it.say(3_000);
    // It has taken what was left, and stands still.
    await expect.poll(async () => (await balanceOf(db().sql, it.person.walletId)).available).toBeLessThan(100n);
    await openLedger(db()).settle(settlement(other.id, 1n), 1_000);
    creditsCameBack(it.person.walletId);
    expect(await saying).toEqual({ tokens: 3_000, goesOn: true });
    await it.end();
  });

  test("names what a bill comes to, at most what is on hold, and nothing while it has not heard how much that is", async () => {
    const it = await open(db(), 3_000n);
    const first = await it.held();
    expect([it.growing.billOf(first), it.growing.billOf(first + 1n)]).toEqual([first, first]);
    it.lose.next = true;
    await it.growing.pay(first + 100n);
    // It was committed, and nobody heard of it.
    expect(await it.held()).toBe(first + 100n);
    expect([it.growing.billOf(first), it.growing.billOf(first + 1n)]).toEqual([first, null]);
    await it.growing.pay(first + 100n);
    expect(await it.held()).toBe(first + 100n);
    expect(it.growing.billOf(5_000n)).toBe(first + 100n);
    await it.end();
  });

  test("waits no longer than its client", async () => {
    const it = await open(db(), 3_000n);
    await it.hold({ amount: 2_000n });
    const saying = it.say(3_000);
    await expect.poll(async () => (await balanceOf(db().sql, it.person.walletId)).available).toBeLessThan(100n);
    it.client.abort();
    expect((await saying).goesOn).toBe(false);
  });
});
